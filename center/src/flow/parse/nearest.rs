//! The nearest valid name to one that was mistyped.

/// Names that are listed when none is near; more would bury the error.
const LISTED_MAX: usize = 16;

/// What to add to an error about `wrong`: the nearest of `valid`, or all of them if they are
/// few.
pub(super) fn hint<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let lower = wrong.to_lowercase();
    let length = wrong.chars().count();
    let near = (valid.iter())
        .filter_map(|name| {
            let of_name = name.chars().count();
            let most = 1 + of_name.min(length) / 3;
            // As many letters must be added or dropped at least.
            (of_name.abs_diff(length) <= most)
                .then(|| (distance(&lower, &name.to_lowercase()), *name))
                .filter(|(distance, _)| *distance <= most)
        })
        .min();
    match near {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None if valid.is_empty() || valid.len() > LISTED_MAX => String::new(),
        None => {
            let names: Vec<_> = valid.iter().map(|name| format!("`{name}`")).collect();
            format!("; there is {}", names.join(", "))
        }
    }
}

/// How many letters must be added, dropped, changed or swapped with their neighbour to get
/// from one word to the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_few_names_are_listed() {
        assert_eq!(hint("slaes", ["support", "sales"]), "; did you mean `sales`?");
        assert_eq!(hint("Menu", ["menu", "play"]), "; did you mean `menu`?");
        assert_eq!(hint("xyz", ["support", "sales"]), "; there is `support`, `sales`");
        assert_eq!(hint("xyz", []), "");
    }

    #[test]
    fn a_swap_of_neighbours_is_one_mistake() {
        for (a, b, d) in [("", "abc", 3), ("abc", "acb", 1), ("menu", "menus", 1), ("ab", "ba", 1)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
