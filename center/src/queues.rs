//! All queues, by name and by number.
//!
//! A seat names its queue by number: whoever becomes free, or is taken, looks at every queue that
//! they serve, and a look by name costs a comparison of strings, each somewhere else in memory, on
//! every level of a tree. Numbers are an index: they differ between replicas and are never told.

use std::collections::BTreeMap;

use crate::{Queue, QueueId};

/// All queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    numbers: BTreeMap<QueueId, usize>,
    /// A queue keeps its row until it is removed; what is free is not looked at.
    rows: Vec<Queue>,
    free: Vec<usize>,
}

impl PartialEq for Queues {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl Queues {
    pub(crate) fn number(&self, id: &QueueId) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    pub(crate) fn at(&self, number: usize) -> Option<&Queue> {
        self.rows.get(number)
    }

    pub(crate) fn at_mut(&mut self, number: usize) -> Option<&mut Queue> {
        self.rows.get_mut(number)
    }

    pub(crate) fn get(&self, id: &QueueId) -> Option<&Queue> {
        self.at(self.number(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: &QueueId) -> Option<&mut Queue> {
        self.at_mut(self.number(id)?)
    }

    pub(crate) fn contains(&self, id: &QueueId) -> bool {
        self.numbers.contains_key(id)
    }

    /// Takes the place of one of the same name.
    pub(crate) fn insert(&mut self, queue: Queue) {
        let number = self.number(&queue.id).or_else(|| self.free.pop());
        let number = number.unwrap_or(self.rows.len());
        self.numbers.insert(queue.id.clone(), number);
        match self.rows.get_mut(number) {
            Some(row) => *row = queue,
            None => self.rows.push(queue),
        }
    }

    pub(crate) fn remove(&mut self, id: &QueueId) {
        self.free.extend(self.numbers.remove(id));
    }

    /// In the order of their names.
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &QueueId> {
        self.numbers.keys()
    }

    /// In the order of their names.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &Queue> {
        self.numbers.values().map(|number| &self.rows[*number])
    }

    /// In no order, and free rows among them.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.rows.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(queues: &Queues) -> Vec<&str> {
        queues.values().map(|queue| queue.id.as_str()).collect()
    }

    #[test]
    fn a_queue_keeps_its_number_when_others_come_and_go() {
        let id = |name: &str| QueueId::parse(name).unwrap();
        let mut queues = Queues::default();
        for name in ["sales", "rest", "tax"] {
            queues.insert(Queue::new(id(name)));
        }
        let tax = queues.number(&id("tax")).unwrap();
        queues.remove(&id("rest"));
        assert_eq!((names(&queues), queues.get(&id("rest"))), (vec!["sales", "tax"], None));
        queues.insert(Queue::new(id("art")));
        assert_eq!(names(&queues), ["art", "sales", "tax"]);
        assert_eq!(queues.at(tax).unwrap().id, id("tax"));
        assert_eq!(queues.rows.len(), 3, "the free row is used again");
    }

    #[test]
    fn the_same_queues_are_equal_whatever_their_numbers() {
        let [a, b] = [["x", "y"], ["y", "x"]].map(|order| {
            let mut queues = Queues::default();
            for name in order {
                queues.insert(Queue::new(QueueId::parse(name).unwrap()));
            }
            queues
        });
        assert_eq!(a, b);
        assert_ne!(a, Queues::default());
    }
}
