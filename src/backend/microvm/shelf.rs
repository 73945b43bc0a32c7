//! What is kept for tasks from one trial to the next, up to an amount of memory.

use crate::workload::Task;

/// Most memory that a shelf keeps: every task of a full run fits, and none can fill the host.
const MOST_BYTES: usize = 1 << 30;

/// Things kept for tasks, the least lately used first.
#[derive(Debug)]
pub struct Shelf<T> {
    kept: Vec<(Task, usize, T)>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { kept: Vec::new() }
    }
}

impl<T> Shelf<T> {
    /// Takes down what is kept for a task.
    pub fn take(&mut self, task: &Task) -> Option<T> {
        let at = self.kept.iter().position(|(of, ..)| of == task)?;
        Some(self.kept.remove(at).2)
    }

    /// Keeps something that may take so many bytes; what was not used for longest makes room. The
    /// newest is kept however large it is.
    pub fn put(&mut self, task: Task, bytes: usize, thing: T) -> &T {
        let all = |kept: &Vec<(Task, usize, T)>| kept.iter().map(|(_, bytes, _)| bytes).sum();
        let mut held: usize = all(&self.kept);
        while !self.kept.is_empty() && held.saturating_add(bytes) > MOST_BYTES {
            held -= self.kept.remove(0).1;
        }
        self.kept.push((task, bytes, thing));
        let newest = self.kept.len() - 1;
        &self.kept[newest].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    const fn task(size: u64) -> Task {
        Task {
            workload: Workload::Warm,
            size,
            reps: 1,
        }
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut shelf = Shelf::default();
        for n in 0..4 {
            shelf.put(task(n), MOST_BYTES / 4, n);
        }
        let first = shelf.take(&task(0)).unwrap();
        assert_eq!(shelf.take(&task(0)), None);
        shelf.put(task(0), MOST_BYTES / 4, first);
        shelf.put(task(9), 1, 9);
        assert_eq!(shelf.take(&task(1)), None);
        assert_eq!(
            [0, 2, 3, 9].map(|n| shelf.take(&task(n))),
            [0, 2, 3, 9].map(Some)
        );
        assert_eq!(*shelf.put(task(5), usize::MAX, 5), 5);
    }
}
