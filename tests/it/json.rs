//! A snapshot as JSON, with the feature `serde`: the shape is part of the interface.

use std::{
    fmt::{Display, Error},
    rc::Rc,
    thread,
    time::Duration,
};

use boucle::{
    Id, Loop, Status, TaskInfo, forever, sleep, spawn,
    sync::{Mutex, Semaphore},
};
use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeSeq, SerializeStruct},
};
use serde_json::to_string;

use crate::support::virtual_loop;

/// What `f` writes, in a thread of its own, where resources are counted from one; the places in
/// this file are `HERE`.
fn json(f: impl FnOnce(&Loop) -> String + Send + 'static) -> String {
    let json = thread::spawn(move || f(&virtual_loop())).join().expect("it is written");
    let mut parts = json.split(file!());
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        assert_eq!(part.split('"').next().unwrap().split(':').count(), 3, "file:line:column");
        text += "HERE";
        text += part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    }
    text
}

#[track_caller]
fn check(json: &str, expected: &[&str]) {
    let mut expected = expected.concat();
    if cfg!(debug_assertions) {
        // Then timers and joins, here the only ones that do not, know where they are written.
        expected = expected.replace(r#""at":null"#, r#""at":"HERE""#);
    }
    assert_eq!(json, expected);
}

/// A cook who waits for a pan that main took, with a deadline, and main, which waits for the cook.
#[test]
fn a_snapshot() {
    let text = json(|l| {
        l.block_on(async {
            // From then on the loop knows the time.
            sleep(Duration::from_secs(1)).await;
            let pan = Rc::new(Mutex::new(()).named("pan"));
            let taken = pan.lock().await;
            let _cook = spawn({
                let pan = pan.clone();
                async move {
                    let lock = async { drop(pan.lock().await) };
                    let _ = boucle::timeout(Duration::from_secs(2), lock).await;
                }
            })
            .named("cook \"one\"");
            sleep(Duration::from_millis(1500)).await;
            let text = to_string(&boucle::snapshot()).unwrap();
            drop(taken);
            text
        })
    });
    check(
        &text,
        &[
            r#"{"tasks":[{"id":1,"name":"main","status":"RUNNING","spawned_at":"HERE""#,
            r#","parent":null"#,
            r#","is_scoped":false,"has_wakers":false,"polled_s":0.0,"waits":[]}"#,
            r#",{"id":2,"name":"cook \"one\"","status":"WAITING","spawned_at":"HERE","parent":1"#,
            r#","is_scoped":false,"has_wakers":false,"polled_s":1.5"#,
            r#","waits":[{"for":"resource","number":1,"wants":1,"waiting_s":1.5,"at":"HERE"}"#,
            r#",{"for":"timer","due_s":0.5,"waiting_s":1.5,"at":null}]}]"#,
            r#","resources":[{"kind":"mutex","number":1,"name":"pan","made_at":"HERE""#,
            r#","taken_by":[{"id":1,"name":"main"}],"taken_elsewhere":false}],"stuck":[],"circles":[]}"#,
        ],
    );
}

#[test]
fn a_stalled_loop() {
    let text = json(|l| {
        let (small, big) = (Mutex::new(()), Semaphore::new(3).named("big"));
        let stalled = l.try_block_on(async {
            let _small = small.lock().await;
            let _big = big.acquire_many(2).await;
            let _both = boucle::gather((small.lock(), big.acquire_many(2))).await;
        });
        to_string(&stalled.unwrap_err()).unwrap()
    });
    check(
        &text,
        &[
            r#"{"grade":"proven","headline":"deadlock: 1 task waits for what can never happen""#,
            r#","snapshot":{"tasks":[{"id":1,"name":"main","status":"WAITING","spawned_at":"HERE""#,
            r#","parent":null,"is_scoped":false,"has_wakers":false,"polled_s":null"#,
            r#","waits":[{"for":"children","waiting_s":null,"at":"HERE"}"#,
            r#",{"for":"resource","number":2,"wants":1,"waiting_s":null,"at":"HERE"}"#,
            r#",{"for":"resource","number":1,"wants":2,"waiting_s":null,"at":"HERE"}]}]"#,
            r#","resources":[{"kind":"semaphore","number":1,"name":"big","made_at":"HERE""#,
            r#","taken_by":[{"id":1,"name":"main"}],"taken_elsewhere":false},{"kind":"mutex","number":2,"name":null"#,
            r#","made_at":"HERE","taken_by":[{"id":1,"name":"main"}],"taken_elsewhere":false}],"stuck":[1],"circles":[]}}"#,
        ],
    );
}

#[test]
fn circles_and_the_stuck() {
    let text = json(|l| {
        let task = l.spawn(async {
            let (tx, rx) = boucle::sync::oneshot::<boucle::JoinHandle<()>>();
            let own = spawn(async move { drop(rx.await.unwrap().await) });
            drop(tx.send(own));
        });
        l.run_until_stalled();
        assert!(task.is_finished());
        to_string(&l.snapshot()).unwrap()
    });
    check(
        &text,
        &[
            r#"{"tasks":[{"id":2,"name":"circles_and_the_stuck""#,
            r#","status":"WAITING","spawned_at":"HERE","parent":1,"is_scoped":false"#,
            r#","has_wakers":false,"polled_s":null"#,
            r#","waits":[{"for":"task","task":{"id":2,"name":"circles_and_the_stuck"}"#,
            r#","waiting_s":null,"at":null}]}]"#,
            r#","resources":[],"stuck":[2],"circles":[[2]]}"#,
        ],
    );
}

#[test]
fn parts_without_a_moment_have_no_times() {
    let text = json(|l| {
        let _sleeper = l.spawn(async { sleep(Duration::from_secs(1)).await }).named("sleeper");
        let _hermit = l.spawn(forever());
        l.run_until_stalled();
        let tasks: Vec<TaskInfo> = l.tasks();
        let waits = &tasks[0].waits[0];
        let mut text = to_string(&tasks).unwrap();
        text += &to_string(waits).unwrap();
        text += &to_string(&waits.what).unwrap();
        let (id, status): (Id, Status) = (tasks[1].id, tasks[1].status);
        text + &to_string(&(id, status)).unwrap()
    });
    check(
        &text,
        &[
            r#"[{"id":1,"name":"sleeper","status":"WAITING","spawned_at":"HERE","parent":null"#,
            r#","is_scoped":false,"has_wakers":false,"waits":[{"for":"timer","at":null}]}"#,
            r#",{"id":2,"name":"Forever","status":"WAITING","spawned_at":"HERE","parent":null"#,
            r#","is_scoped":false,"has_wakers":false,"waits":[{"for":"forever","at":"HERE"}]}]"#,
            r#"{"for":"timer","at":null}{"for":"timer"}[2,"WAITING"]"#,
        ],
    );
}

/// A format that writes nothing, but sees to it that as much comes as was announced.
struct Counting;

struct Announced(usize);

type Never = Impossible<(), Error>;

macro_rules! scalars {
    ($($name:ident($type:ty))*) => {
        $(fn $name(self, _: $type) -> Result<(), Error> {
            Ok(())
        })*
    };
}

impl Serializer for Counting {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Announced;
    type SerializeStruct = Announced;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStructVariant = Never;

    scalars! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_i64(i64) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_f32(f32) serialize_f64(f64) serialize_char(char)
        serialize_str(&str) serialize_bytes(&[u8]) serialize_unit_struct(&'static str)
    }

    fn serialize_none(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Announced, Error> {
        Ok(Announced(len.expect("a list knows its length")))
    }

    fn serialize_struct(self, _: &str, len: usize) -> Result<Announced, Error> {
        Ok(Announced(len))
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &str, _: u32, _: &str) -> Result<(), Error> {
        Err(Error)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &str, _: &T) -> Result<(), Error> {
        Err(Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error)
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, Error> {
        Err(Error)
    }

    fn serialize_tuple_struct(self, _: &str, _: usize) -> Result<Never, Error> {
        Err(Error)
    }

    fn serialize_tuple_variant(self, _: &str, _: u32, _: &str, _: usize) -> Result<Never, Error> {
        Err(Error)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, Error> {
        Err(Error)
    }

    fn serialize_struct_variant(self, _: &str, _: u32, _: &str, _: usize) -> Result<Never, Error> {
        Err(Error)
    }
}

impl Announced {
    fn one(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or(Error)?;
        value.serialize(Counting)
    }

    fn none_is_left(self) -> Result<(), Error> {
        if self.0 == 0 { Ok(()) } else { Err(Error) }
    }
}

impl SerializeSeq for Announced {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<(), Error> {
        self.none_is_left()
    }
}

impl SerializeStruct for Announced {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<(), Error> {
        self.none_is_left()
    }
}

/// JSON does not ask for it, but binary formats write it first.
#[test]
fn as_many_fields_are_written_as_are_announced() {
    let l = virtual_loop();
    let pan = Rc::new(Mutex::new(()));
    let (taken, answer) = (pan.clone(), l.remote().spawn(forever));
    let cook = l.spawn(async move {
        let _taken = taken.lock().await;
        forever().await
    });
    let second = Duration::from_secs(1);
    let late = || async move { sleep(Duration::from_secs(60)).await };
    drop(l.spawn(async move { boucle::timeout(second, pan.lock()).await.map(drop) }));
    drop(l.spawn(async move { boucle::gather((late(), cook)).await.1.map(drop) }));
    drop(l.spawn(async move { answer.await.map(drop) }));
    drop(l.spawn(std::future::pending::<()>()));
    l.run_until_stalled();
    let snapshot = l.snapshot();
    snapshot.serialize(Counting).unwrap();
    for task in snapshot.tasks() {
        task.serialize(Counting).unwrap();
        for wait in &task.waits {
            wait.serialize(Counting).unwrap();
            wait.what.serialize(Counting).unwrap();
        }
    }
    let text = to_string(&snapshot).unwrap();
    for what in ["task", "resource", "timer", "children", "remote", "forever", "nothing"] {
        assert!(text.contains(&format!(r#""for":"{what}""#)), "{what}: {text}");
    }
    virtual_loop().try_block_on(forever()).unwrap_err().serialize(Counting).unwrap();
}
