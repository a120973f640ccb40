//! A child process, its output so far, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{until, until_within};

/// The output of a process so far, line by line.
#[derive(Clone, Default)]
struct ProcessOutput(Arc<Mutex<String>>);

impl ProcessOutput {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let more = output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut all = more.0.lock().unwrap();
                all.push_str(&String::from_utf8_lossy(&line));
                all.push('\n');
            }
        });
        output
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A process without input. It is killed when this value is dropped.
pub struct ChildProcess {
    child: Mutex<Child>,
    out: ProcessOutput,
    err: ProcessOutput,
}

impl ChildProcess {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let (out, err) = (
            ProcessOutput::of(child.stdout.take().unwrap()),
            ProcessOutput::of(child.stderr.take().unwrap()),
        );
        Self {
            child: Mutex::new(child),
            out,
            err,
        }
    }

    /// The standard output so far.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// The standard error so far.
    pub fn err(&self) -> String {
        self.err.text()
    }

    /// The value that `find` returns for the first line of output that it accepts. Waits for this
    /// line. The process must not end before.
    pub async fn line<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        until(what, async || {
            assert!(
                self.ended().is_none(),
                "the process ended before {what}: {}{}",
                self.out(),
                self.err()
            );
            self.out().lines().find_map(&find)
        })
        .await
    }

    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Ends the process as `kill -9` or a power cut does.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        let done = Command::new("/bin/sh")
            .args(["-c", &format!("kill -{name} {}", self.id())])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// The exit code, or -1 if a signal ended the process. Waits at most this time for the end.
    pub async fn exit(&self, within: Duration) -> i32 {
        until_within(within, "the process ends", async || self.ended())
            .await
            .code()
            .unwrap_or(-1)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
