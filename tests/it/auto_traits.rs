//! What is `Send`, and what must never be.

use boucle::{
    Canceller, Gathering, Id, JoinError, JoinHandle, Loop, Sleep, Stalled, Status, TaskInfo,
    TaskSet, Wait, Waiter,
    sync::{
        Acquire, AcquireOwned, Closed, Lock, Mutex, MutexGuard, OneshotReceiver, OneshotSender,
        OwnedPermit, Permit, Receiver, Receiving, RecvError, Semaphore, SendError, Sender, Sending,
        TryRecvError, TrySendError, UnboundedSender, WaitFor,
    },
};

#[test]
fn plain_data_goes_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Sleep>();
    anywhere::<JoinError>();
    anywhere::<Stalled>();
    anywhere::<TaskInfo>();
    anywhere::<(Id, Status)>();
    anywhere::<(SendError<u8>, TrySendError<u8>)>();
    anywhere::<(RecvError, TryRecvError)>();
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
    <Wait<()> as AmbiguousIf<_>>::it_has_not();
    <Waiter as AmbiguousIf<_>>::it_has_not();
    <WaitFor<'static> as AmbiguousIf<_>>::it_has_not();
    <Gathering<()> as AmbiguousIf<_>>::it_has_not();
    <Mutex<()> as AmbiguousIf<_>>::it_has_not();
    <MutexGuard<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Lock<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Semaphore as AmbiguousIf<_>>::it_has_not();
    <Permit<'static> as AmbiguousIf<_>>::it_has_not();
    <OwnedPermit as AmbiguousIf<_>>::it_has_not();
    <Acquire<'static> as AmbiguousIf<_>>::it_has_not();
    <AcquireOwned as AmbiguousIf<_>>::it_has_not();
    <OneshotSender<()> as AmbiguousIf<_>>::it_has_not();
    <OneshotReceiver<()> as AmbiguousIf<_>>::it_has_not();
    <Closed<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Sender<()> as AmbiguousIf<_>>::it_has_not();
    <UnboundedSender<()> as AmbiguousIf<_>>::it_has_not();
    <Receiver<()> as AmbiguousIf<_>>::it_has_not();
    <Sending<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Receiving<'static, ()> as AmbiguousIf<_>>::it_has_not();
}
