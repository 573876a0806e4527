//! A set of tasks, in order.

use std::{fmt, slice, vec};

use crate::task::{Id, JoinHandle};

/// Tasks in the order in which they were given, as [`wait`](crate::wait()) returns them.
///
/// Dropping the set drops the handles; a panic that nobody has read is then
/// [unobserved](JoinHandle#unobserved-panics).
///
/// ```
/// boucle::block_on(async {
///     let tasks = [boucle::spawn(async { 1 }), boucle::spawn(async { 2 })];
///     let (done, failed) = boucle::wait(tasks).await;
///     assert!(failed.is_empty());
///     let outputs: Vec<i32> = done.iter().map(|task| *task.result().unwrap().unwrap()).collect();
///     assert_eq!(outputs, [1, 2]);
/// });
/// ```
#[must_use = "the results of the tasks are in the set; a panic that is dropped unread is resumed"]
pub struct TaskSet<T> {
    tasks: Vec<JoinHandle<T>>,
}

impl<T> TaskSet<T> {
    pub(crate) fn from_vec(tasks: Vec<JoinHandle<T>>) -> TaskSet<T> {
        TaskSet { tasks }
    }

    /// How many tasks there are.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let (done, failed) = boucle::wait([boucle::spawn(async {})]).await;
    /// assert_eq!((done.len(), failed.len()), (1, 0));
    /// # });
    /// ```
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let (done, failed) = boucle::wait([boucle::spawn(async {})]).await;
    /// assert!(!done.is_empty() && failed.is_empty());
    /// # });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks, in order.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let tasks = ["soda", "fries"].map(|name| boucle::spawn(async {}).named(name));
    /// let (done, _) = boucle::wait(tasks).await;
    /// let names: Vec<_> = done.iter().map(|task| task.name()).collect();
    /// assert_eq!(names, ["soda", "fries"]);
    /// # });
    /// ```
    pub fn iter(&self) -> slice::Iter<'_, JoinHandle<T>> {
        self.tasks.iter()
    }

    /// The task with this id. O(n).
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let soda = boucle::spawn(async {});
    /// let id = soda.id();
    /// let (done, _) = boucle::wait([soda]).await;
    /// assert_eq!(done.get(id).map(|task| task.id()), Some(id));
    /// # });
    /// ```
    pub fn get(&self, id: Id) -> Option<&JoinHandle<T>> {
        self.iter().find(|task| task.id() == id)
    }
}

impl<T> IntoIterator for TaskSet<T> {
    type Item = JoinHandle<T>;
    type IntoIter = vec::IntoIter<JoinHandle<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.tasks.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a TaskSet<T> {
    type Item = &'a JoinHandle<T>;
    type IntoIter = slice::Iter<'a, JoinHandle<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for TaskSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
