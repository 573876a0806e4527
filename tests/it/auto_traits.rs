//! What is `Send`, and what must never be.

use std::{cell::Cell, future::Ready, rc::Rc};

use boucle::{
    Blocked, Canceller, Elapsed, Gathering, Id, Interval, JoinError, JoinHandle, JoinNext, Loop,
    Members, Racing, Remote, RemoteHandle, Running, Sleep, Stalled, Status, TaskInfo, TaskSet,
    Timeout, TryGathering, Wait, WaitUntil, Waited, Waiter,
    sync::{
        Acquire, AcquireOwned, Closed, Lock, Mutex, MutexGuard, OneshotReceiver, OneshotSender,
        OwnedPermit, Permit, Receiver, Receiving, RecvError, Semaphore, SendError, Sender, Sending,
        TryRecvError, TrySendError, UnboundedSender, WaitFor,
    },
    time::{MissedTicks, Tick},
};

#[test]
fn t38_plain_data_goes_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Sleep>();
    anywhere::<Interval>();
    anywhere::<Tick<'static>>();
    anywhere::<MissedTicks>();
    anywhere::<boucle::time::Hold>();
    anywhere::<Timeout<Ready<u8>>>();
    anywhere::<Elapsed>();
    anywhere::<JoinError>();
    anywhere::<Remote>();
    anywhere::<RemoteHandle<std::cell::Cell<u8>>>();
    anywhere::<Stalled>();
    anywhere::<(Blocked, Running)>();
    anywhere::<boucle::Diagnostic>();
    anywhere::<TaskInfo>();
    anywhere::<(Id, Status)>();
    anywhere::<(SendError<u8>, TrySendError<u8>)>();
    anywhere::<(RecvError, TryRecvError)>();
}

#[test]
#[cfg(all(unix, feature = "net"))]
fn t38_sockets_go_anywhere() {
    use boucle::net::{self, OwnedReadHalf, OwnedWriteHalf, ReuniteError, TcpStream, UnixStream};
    fn anywhere<T: Send + Sync + Unpin + 'static>() {}
    anywhere::<(net::TcpListener, TcpStream, net::UdpSocket)>();
    anywhere::<(net::UnixListener, UnixStream, net::UnixDatagram)>();
    anywhere::<(OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>, ReuniteError<TcpStream>)>();
    anywhere::<(OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>, ReuniteError<UnixStream>)>();
    anywhere::<(net::Incoming<'static>, net::unix::Incoming<'static>)>();
    anywhere::<boucle::io::Async<std::net::TcpStream>>();
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<ReuniteError<TcpStream>>();
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

/// As [`AmbiguousIf`], for `Sync` alone.
trait AmbiguousIfSync<Which> {
    fn it_is_not() {}
}

impl<T: ?Sized> AmbiguousIfSync<()> for T {}
impl<T: ?Sized + Sync> AmbiguousIfSync<Sync_> for T {}

#[test]
fn a_timeout_is_what_its_future_is() {
    fn send<T: Send>() {}
    send::<Timeout<Cell<u8>>>();
    <Timeout<Cell<u8>> as AmbiguousIfSync<_>>::it_is_not();
    <Timeout<Rc<u8>> as AmbiguousIf<_>>::it_has_not();
}

/// Compiling is the test.
#[test]
fn t38_what_belongs_to_a_thread_stays_there() {
    <Loop as AmbiguousIf<_>>::it_has_not();
    <JoinHandle<()> as AmbiguousIf<_>>::it_has_not();
    <Canceller as AmbiguousIf<_>>::it_has_not();
    <RemoteHandle<std::rc::Rc<()>> as AmbiguousIf<_>>::it_has_not();
    <TaskSet<()> as AmbiguousIf<_>>::it_has_not();
    <JoinNext<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <Members<'static, ()> as AmbiguousIf<_>>::it_has_not();
    <WaitUntil<()> as AmbiguousIf<_>>::it_has_not();
    <Waited<()> as AmbiguousIf<_>>::it_has_not();
    <Wait<()> as AmbiguousIf<_>>::it_has_not();
    <Waiter as AmbiguousIf<_>>::it_has_not();
    <WaitFor<'static> as AmbiguousIf<_>>::it_has_not();
    <Gathering<()> as AmbiguousIf<_>>::it_has_not();
    <TryGathering<()> as AmbiguousIf<_>>::it_has_not();
    <Racing<()> as AmbiguousIf<_>>::it_has_not();
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
