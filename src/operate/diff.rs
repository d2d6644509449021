//! The difference of two texts in lines, in the unified form that people know from diff and patch.

use std::fmt::Write as _;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// Cells of the table that finds what stayed; two files that differ more than this are shown one after the other.
const CELLS_MAX: usize = 4_000_000;

/// A line, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'t> {
    Stays(&'t str),
    Goes(&'t str),
    Comes(&'t str),
}

/// The unified difference of two texts under these names; nothing where they are the same.
pub(crate) fn unified(before: &str, after: &str, names: (&str, &str)) -> String {
    let [old, new] = [before, after].map(|text| text.lines().collect::<Vec<_>>());
    let steps = steps(&old, &new);
    let differs = |step: &Step<'_>| !matches!(step, Step::Stays(_));
    let changes: Vec<usize> =
        steps.iter().enumerate().filter(|(_, step)| differs(step)).map(|(at, _)| at).collect();
    let Some(first) = changes.first() else { return String::new() };
    let mut text = format!("--- {}\n+++ {}\n", names.0, names.1);
    let mut hunk = (first.saturating_sub(CONTEXT), first + CONTEXT + 1);
    for at in &changes {
        if at.saturating_sub(CONTEXT) > hunk.1 {
            write_hunk(&mut text, &steps, hunk);
            hunk.0 = at.saturating_sub(CONTEXT);
        }
        hunk.1 = at + CONTEXT + 1;
    }
    write_hunk(&mut text, &steps, hunk);
    text
}

fn write_hunk(text: &mut String, steps: &[Step<'_>], (from, to): (usize, usize)) {
    let count = |steps: &[Step<'_>]| {
        let old = steps.iter().filter(|step| !matches!(step, Step::Comes(_))).count();
        let new = steps.iter().filter(|step| !matches!(step, Step::Goes(_))).count();
        (old, new)
    };
    let before = count(steps.get(..from).unwrap_or_default());
    let shown = steps.get(from..to.min(steps.len())).unwrap_or_default();
    let lines = count(shown);
    // An empty side begins before its first line.
    let start = |before: usize, lines: usize| if lines == 0 { before } else { before + 1 };
    let (old, new) = (start(before.0, lines.0), start(before.1, lines.1));
    let _ = writeln!(text, "@@ -{old},{} +{new},{} @@", lines.0, lines.1);
    for step in shown {
        let (sign, line) = match step {
            Step::Stays(line) => (' ', line),
            Step::Goes(line) => ('-', line),
            Step::Comes(line) => ('+', line),
        };
        let _ = writeln!(text, "{sign}{line}");
    }
}

/// What became of each line, by the longest common subsequence of what lies between the common ends.
fn steps<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Step<'t>> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let old_middle = old_rest.get(..old_rest.len() - tail).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len() - tail).unwrap_or_default();
    let mut steps: Vec<Step<'t>> =
        old.get(..head).unwrap_or_default().iter().map(|line| Step::Stays(line)).collect();
    if (old_middle.len() + 1).saturating_mul(new_middle.len() + 1) > CELLS_MAX {
        steps.extend(old_middle.iter().map(|line| Step::Goes(line)));
        steps.extend(new_middle.iter().map(|line| Step::Comes(line)));
    } else {
        walk(old_middle, new_middle, &mut steps);
    }
    steps.extend(old.get(old.len() - tail..).unwrap_or_default().iter().map(|line| Step::Stays(line)));
    steps
}

fn walk<'t>(old: &[&'t str], new: &[&'t str], steps: &mut Vec<Step<'t>>) {
    let width = new.len() + 1;
    // How many lines two tails have in common.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let cell = |table: &[u32], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or_default();
    for (i, old_line) in old.iter().enumerate().rev() {
        for (j, new_line) in new.iter().enumerate().rev() {
            let length = if old_line == new_line {
                cell(&common, i + 1, j + 1) + 1
            } else {
                cell(&common, i + 1, j).max(cell(&common, i, j + 1))
            };
            if let Some(place) = common.get_mut(i * width + j) {
                *place = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (None, None) => return,
            (Some(line), Some(other)) if line == other => {
                steps.push(Step::Stays(line));
                (i, j) = (i + 1, j + 1);
            }
            (Some(line), other) if other.is_none() || cell(&common, i + 1, j) >= cell(&common, i, j + 1) => {
                steps.push(Step::Goes(line));
                i += 1;
            }
            (_, Some(line)) => {
                steps.push(Step::Comes(line));
                j += 1;
            }
            (Some(_), None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let after = "a\nb\nc\nd\nE\nf\ng\nh\ni\n";
        let expected = "--- x\n+++ y\n@@ -2,7 +2,8 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n+i\n";
        assert_eq!(unified(before, after, ("x", "y")), expected);
        assert_eq!(unified(before, before, ("x", "y")), "");
        assert_eq!(unified("", "a\n", ("x", "y")), "--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a\n");
        let far = unified("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "0\n2\n3\n4\n5\n6\n7\n8\n9\n11\n", ("x", "y"));
        assert_eq!(far.matches("@@ -").count(), 2, "{far}");
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_one_text_to_the_other(
            old in prop::collection::vec("[abc]", 0..12), new in prop::collection::vec("[abc]", 0..12)
        ) {
            let [old, new]: [Vec<&str>; 2] = [&old, &new].map(|lines| lines.iter().map(String::as_str).collect());
            let steps = steps(&old, &new);
            let side = |without: fn(&Step<'_>) -> bool| -> Vec<&str> {
                steps.iter().filter(|step| !without(step)).map(|step| match step {
                    Step::Stays(line) | Step::Goes(line) | Step::Comes(line) => *line,
                }).collect()
            };
            prop_assert_eq!(side(|step| matches!(step, Step::Comes(_))), old);
            prop_assert_eq!(side(|step| matches!(step, Step::Goes(_))), new);
        }
    }
}
