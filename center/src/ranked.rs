//! An ordered set that knows how many of its members, and how much weight, stand before one.
//!
//! A treap (Seidel and Aragon, "Randomized Search Trees", Algorithmica 16, 1996) whose heap order
//! is a hash of the key, so that the same members always make the same tree: nothing here is
//! random, and no order of insertion makes it deep. Every operation costs O(log n).

use crate::ids::{AgentId, CallId};
use crate::queue::{Place, Rank};

/// A set in order of its keys, each with a weight.
#[derive(Clone, Debug)]
pub(crate) struct Ranked<K> {
    root: Tree<K>,
}

type Tree<K> = Option<Box<Node<K>>>;

#[derive(Clone, Debug)]
struct Node<K> {
    key: K,
    weight: u32,
    heap: u64,
    /// Of the whole subtree.
    count: u32,
    /// Of the whole subtree.
    sum: u64,
    less: Tree<K>,
    more: Tree<K>,
}

/// What a set can be made of.
pub(crate) trait Key: Ord + Clone {
    /// Well mixed bits that only depend on the key.
    fn scatter(&self) -> u64;
}

impl Key for Place {
    fn scatter(&self) -> u64 {
        let CallId(call) = self.call;
        mix(call ^ self.ticket.rotate_left(32))
    }
}

impl Key for (Rank, AgentId) {
    fn scatter(&self) -> u64 {
        mix(crate::hash::of_bytes(self.1.as_str().as_bytes()))
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every input bit changes about
/// half of the output.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<K: Key> PartialEq for Ranked<K> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<K: Key> Eq for Ranked<K> {}

impl<K: Key> Ranked<K> {
    pub(crate) fn len(&self) -> usize {
        count(&self.root) as usize
    }

    /// Adds a key that is not in it.
    pub(crate) fn insert(&mut self, key: K, weight: u32) {
        let (less, more) = split(self.root.take(), &key);
        let (heap, sum) = (key.scatter(), weight.into());
        let node = Node { key, weight, heap, count: 1, sum, less: None, more: None };
        self.root = merge(merge(less, Some(Box::new(node))), more);
    }

    /// Takes a key out; false if it is not in it.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        remove(&mut self.root, key)
    }

    pub(crate) fn first(&self) -> Option<&K> {
        let mut node = self.root.as_deref()?;
        while let Some(less) = node.less.as_deref() {
            node = less;
        }
        Some(&node.key)
    }

    /// The members behind `key`, in order. The first costs O(log n), each further one O(1) on
    /// average.
    pub(crate) fn after<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a K> + use<'a, K> {
        let mut path = Vec::new();
        let mut tree = self.root.as_deref();
        while let Some(node) = tree {
            if node.key > *key {
                path.push(node);
                tree = node.less.as_deref();
            } else {
                tree = node.more.as_deref();
            }
        }
        Iter { path }.map(|(key, _)| key)
    }

    /// All members with their weights, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        let mut iter = Iter { path: Vec::new() };
        iter.descend(self.root.as_deref());
        iter
    }

    /// How many members, and how much weight, stand before `key`, which need not be in it.
    pub(crate) fn before(&self, key: &K) -> (u32, u64) {
        let (mut members, mut weight) = (0, 0);
        let mut tree = self.root.as_deref();
        while let Some(node) = tree {
            if node.key < *key {
                members += count(&node.less) + 1;
                weight += sum(&node.less) + u64::from(node.weight);
                tree = node.more.as_deref();
            } else {
                tree = node.less.as_deref();
            }
        }
        (members, weight)
    }

    /// The member that covers this point when all weights are laid end to end in order.
    pub(crate) fn at_weight(&self, mut point: u64) -> Option<&K> {
        let mut tree = self.root.as_deref();
        while let Some(node) = tree {
            let less = sum(&node.less);
            let own = u64::from(node.weight);
            if point < less {
                tree = node.less.as_deref();
            } else if point < less + own {
                return Some(&node.key);
            } else {
                point -= less + own;
                tree = node.more.as_deref();
            }
        }
        None
    }
}

struct Iter<'a, K> {
    path: Vec<&'a Node<K>>,
}

impl<'a, K> Iter<'a, K> {
    fn descend(&mut self, mut tree: Option<&'a Node<K>>) {
        while let Some(node) = tree {
            self.path.push(node);
            tree = node.less.as_deref();
        }
    }
}

impl<'a, K> Iterator for Iter<'a, K> {
    type Item = (&'a K, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.path.pop()?;
        self.descend(node.more.as_deref());
        Some((&node.key, node.weight))
    }
}

fn count<K>(tree: &Tree<K>) -> u32 {
    tree.as_ref().map_or(0, |node| node.count)
}

fn sum<K>(tree: &Tree<K>) -> u64 {
    tree.as_ref().map_or(0, |node| node.sum)
}

impl<K> Node<K> {
    fn recount(&mut self) {
        self.count = count(&self.less) + 1 + count(&self.more);
        self.sum = sum(&self.less) + u64::from(self.weight) + sum(&self.more);
    }
}

/// Those before `key`, and the others.
fn split<K: Ord>(tree: Tree<K>, key: &K) -> (Tree<K>, Tree<K>) {
    let Some(mut node) = tree else { return (None, None) };
    if node.key < *key {
        let (less, more) = split(node.more.take(), key);
        node.more = less;
        node.recount();
        (Some(node), more)
    } else {
        let (less, more) = split(node.less.take(), key);
        node.less = more;
        node.recount();
        (less, Some(node))
    }
}

/// All of `less` stand before all of `more`.
fn merge<K>(less: Tree<K>, more: Tree<K>) -> Tree<K> {
    match (less, more) {
        (None, tree) | (tree, None) => tree,
        (Some(mut less), Some(more)) if less.heap >= more.heap => {
            less.more = merge(less.more.take(), Some(more));
            less.recount();
            Some(less)
        }
        (Some(less), Some(mut more)) => {
            more.less = merge(Some(less), more.less.take());
            more.recount();
            Some(more)
        }
    }
}

fn remove<K: Ord>(tree: &mut Tree<K>, key: &K) -> bool {
    let Some(node) = tree else { return false };
    let found = match key.cmp(&node.key) {
        std::cmp::Ordering::Less => remove(&mut node.less, key),
        std::cmp::Ordering::Greater => remove(&mut node.more, key),
        std::cmp::Ordering::Equal => {
            *tree = merge(node.less.take(), node.more.take());
            return true;
        }
    };
    node.recount();
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Key for u32 {
        fn scatter(&self) -> u64 {
            mix((*self).into())
        }
    }

    /// The set and what it should be, after thousands of insertions and removals.
    #[test]
    fn it_counts_as_a_plain_list_does() {
        let (mut set, mut plain) = (Ranked::default(), BTreeMap::new());
        for step in 0..4_000_u64 {
            let key = (mix(step) % 500) as u32;
            if plain.remove(&key).is_some() {
                assert!(set.remove(&key));
            } else {
                assert!(!set.remove(&key));
                let weight = (mix(step) >> 40) as u32 % 9;
                set.insert(key, weight);
                plain.insert(key, weight);
            }
            let at = (mix(step + 7) % 520) as u32;
            let before: Vec<u32> = plain.range(..at).map(|(_, weight)| *weight).collect();
            let weight = before.iter().map(|weight| u64::from(*weight)).sum();
            assert_eq!(set.before(&at), (before.len() as u32, weight));
            assert_eq!(set.after(&at).next(), plain.range(at + 1..).next().map(|(key, _)| key));
            let covering = plain.iter().scan(0, |sum, (key, weight)| {
                *sum += u64::from(*weight);
                Some((*sum, key))
            });
            let point = mix(step) % (4 * 500);
            let covering = covering.into_iter().find(|(sum, _)| point < *sum).map(|(_, key)| key);
            assert_eq!(set.at_weight(point), covering);
        }
        assert!(set.iter().eq(plain.iter().map(|(key, weight)| (key, *weight))));
        assert_eq!(set.len(), plain.len());
        assert_eq!(set.first(), plain.keys().next());
    }

    #[test]
    fn keys_that_come_in_order_make_no_deep_tree() {
        fn depth<K>(tree: &Tree<K>) -> usize {
            tree.as_ref().map_or(0, |node| 1 + depth(&node.less).max(depth(&node.more)))
        }
        let mut set = Ranked::default();
        (0..50_000_u32).for_each(|key| set.insert(key, 1));
        // The expected depth of such a tree is about 2 ln n, and 3 times that is not seen.
        assert!(depth(&set.root) < 65, "{}", depth(&set.root));
    }
}
