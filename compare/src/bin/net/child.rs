//! Child processes that answer line by line and do not outlive their owner.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    str::FromStr,
};

use crate::{Result, servers::Kind};

/// A child that is asked through its stdin and answers on its stdout; killed when dropped.
pub(crate) struct Asked {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asked {
    pub(crate) fn start(command: &mut Command) -> Result<Asked> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take().ok_or("the child has no stdin")?;
        let answers = child.stdout.take().ok_or("the child has no stdout")?;
        Ok(Asked { child, questions, answers: BufReader::new(answers) })
    }

    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.questions, "{question}")?;
        self.listen()
    }

    /// The next line of the child.
    pub(crate) fn listen(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("a child ended before it answered".into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // It fails if the child has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program again, as a server.
pub(crate) struct Server {
    process: Asked,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(kind: Kind, core: usize) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process =
            Asked::start(command.args(["serve", kind.name(), core.to_string().as_str()]))?;
        let address = parse(&process.listen()?)?;
        Ok(Server { process, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&mut self) -> u32 {
        self.process.child().id()
    }

    /// CPU time of the server so far, in nanoseconds.
    pub(crate) fn cpu_time(&mut self) -> Result<u64> {
        parse(&self.process.ask("cpu")?)
    }
}

fn parse<T: FromStr>(answer: &str) -> Result<T> {
    answer.parse().map_err(|_| format!("a child answered '{answer}'").into())
}
