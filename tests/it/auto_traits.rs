//! What is `Send`, and what must never be.

use boucle::{
    Canceller, Gathering, Id, JoinError, JoinHandle, JoinNext, Loop, Members, Sleep, Stalled,
    Status, TaskInfo, TaskSet, Wait, WaitUntil, Waited, Waiter, sync::WaitFor,
};

#[test]
fn plain_data_goes_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Sleep>();
    anywhere::<JoinError>();
    anywhere::<Stalled>();
    anywhere::<TaskInfo>();
    anywhere::<(Id, Status)>();
}

/// Two implementations for what has the trait, so that naming it is ambiguous and does not compile.
trait AmbiguousIf<Which> {
    fn it_has_not() {}
}

struct Send_;
struct Sync_;

impl<T: ?Sized> AmbiguousIf<()> for T {}
impl<T: ?Sized + Send> AmbiguousIf<Send_> for T {}
impl<T: ?Sized + Sync> AmbiguousIf<Sync_> for T {}

/// Compiling is the test.
#[test]
fn what_belongs_to_a_thread_stays_there() {
    <Loop as AmbiguousIf<_>>::it_has_not();
    <JoinHandle<()> as AmbiguousIf<_>>::it_has_not();
    <Canceller as AmbiguousIf<_>>::it_has_not();
    <TaskSet<()> as AmbiguousIf<_>>::it_has_not();
    <JoinNext<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Members<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <WaitUntil<()> as AmbiguousIf<_>>::it_has_not();
    <Waited<()> as AmbiguousIf<_>>::it_has_not();
    <Wait<()> as AmbiguousIf<_>>::it_has_not();
    <Waiter as AmbiguousIf<_>>::it_has_not();
    <WaitFor<'static> as AmbiguousIf<_>>::it_has_not();
    <Gathering<()> as AmbiguousIf<_>>::it_has_not();
}
