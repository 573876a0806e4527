//! The measurement itself: rounds over all servers in turn, and medians in a table.

use crate::{
    Result,
    child::Server,
    client::Client,
    machine,
    servers::Kind::{self, Raw},
    syscalls,
};

/// Of round trips per measurement, this part warms up and is not counted.
const WARM_UP: usize = 10;

/// Every round measures each server once, in a fresh process.
const ROUNDS: usize = 31;

/// How often system calls are counted.
const COUNTS: usize = 9;

const MANY: Load = Load { connections: 64, round_trips: 20_000 };
const FEW: Load = Load { connections: 4, round_trips: 10_000 };
const ONE: Load = Load { connections: 1, round_trips: 5_000 };

#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    round_trips: usize,
}

pub(crate) fn print() -> Result<()> {
    let (server_core, client_core) = machine::two_cores()?;
    machine::pin_to(client_core)?;
    let many = cpu_times(MANY, server_core)?;
    let few = cpu_times(FEW, server_core)?;
    let calls = |kind| {
        [ONE, MANY].map(|load| match calls(kind, load, server_core) {
            Ok(calls) => format!("{calls:.2}"),
            Err(error) => {
                eprintln!("NO SYSTEM CALLS COUNTED for {}: {error}", kind.name());
                String::new()
            }
        })
    };
    let mut table = String::from(
        "| server | CPU ns, 64 connections | ratio | CPU ns, 4 connections | ratio \
         | calls, 1 connection | calls, 64 connections |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (n, kind) in Kind::ALL.into_iter().enumerate() {
        let [one_calls, many_calls] = calls(kind);
        table += &format!(
            "| {} | {:.0} | {:.2} | {:.0} | {:.2} | {one_calls} | {many_calls} |\n",
            kind.name(),
            median(many[n].clone()),
            ratio(&many[n], &many[0]),
            median(few[n].clone()),
            ratio(&few[n], &few[0]),
        );
    }
    print!("{table}");
    Ok(())
}

/// For each server, in the order of [`Kind::ALL`], its CPU time per round trip in each round.
fn cpu_times(load: Load, core: usize) -> Result<Vec<Vec<f64>>> {
    assert_eq!(Kind::ALL[0], Raw, "the ratios are to the first");
    let mut times = vec![Vec::new(); Kind::ALL.len()];
    for round in 0..ROUNDS {
        eprint!("\r{} connections: round {} of {ROUNDS} ", load.connections, round + 1);
        for n in 0..Kind::ALL.len() {
            // Nobody is always the first, or always behind the same neighbour's heat.
            let n = (n + round) % Kind::ALL.len();
            times[n].push(cpu_time(Kind::ALL[n], load, core)?);
        }
    }
    eprintln!();
    Ok(times)
}

/// CPU nanoseconds of the server per round trip.
fn cpu_time(kind: Kind, load: Load, core: usize) -> Result<f64> {
    let (mut server, mut client) = warm(kind, load, core)?;
    let before = server.cpu_time()?;
    client.round_trips(load.round_trips)?;
    let spent = server.cpu_time()? - before;
    Ok(spent as f64 / load.round_trips as f64)
}

/// System calls of the server per round trip: the median of some runs, since how many messages a
/// wait brings hangs on who is ahead at the moment.
fn calls(kind: Kind, load: Load, core: usize) -> Result<f64> {
    let mut calls = Vec::with_capacity(COUNTS);
    for _ in 0..COUNTS {
        let (mut server, mut client) = warm(kind, load, core)?;
        let made = syscalls::during(server.pid(), || client.round_trips(load.round_trips))?;
        calls.push(made as f64 / load.round_trips as f64);
    }
    Ok(median(calls))
}

fn warm(kind: Kind, load: Load, core: usize) -> Result<(Server, Client)> {
    let server = Server::start(kind, core)?;
    let mut client = Client::connect(server.address(), load.connections)?;
    client.round_trips(load.round_trips / WARM_UP)?;
    Ok((server, client))
}

/// The median of the rounds' own ratios: what slows a whole round leaves them alone.
fn ratio(of: &[f64], to: &[f64]) -> f64 {
    median(of.iter().zip(to).map(|(of, to)| of / to).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
