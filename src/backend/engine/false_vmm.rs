//! A script in the place of somebody else's VMM, a kernel that is never looked at, and what became of a trial
//! with them: for the tests of each VMM.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isobench_abi::{ABI_VERSION, Message, Ready, Report};

use super::detect::Found;
use super::guest::{Guest, Port};
use super::workspace::Workspace;
use super::{Engine, Engined};
use crate::backend::Backend;
use crate::backend::linux_vm::kernel_file;
use crate::backend::services::Services;
use crate::trial::{EngineEnd, Failure, Launch, Observation};
use crate::vmm::linux::kernel_tests::bzimage;
use crate::workload::{Task, Workload, payload};

/// Long enough for whatever does not hang.
pub const SOON: Duration = Duration::from_secs(30);

/// What a VMM's engine is made of.
pub type Make = fn(Found, Rc<Workspace>, Guest) -> Box<dyn Engine>;

/// A folder with the script, where it and the test meet.
pub struct FalseVmm {
    folder: tempfile::TempDir,
    make: Make,
    version: &'static str,
    port: Port,
}

impl FalseVmm {
    pub fn new(make: Make, version: &'static str, port: Port) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            make,
            version,
            port,
        }
    }

    /// A file to meet at.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One trial with this script, `{}` in it for the folder; the engine is gone behind it.
    pub fn trial(&self, script: &str, deadline: Duration) -> Result<Observation, Failure> {
        let program = self.path("vmm");
        let folder = self.folder.path().display().to_string();
        let script = format!("#!/bin/sh\n{}\n", script.replace("{}", &folder));
        // Written by another process: one that this one has open for writing cannot be executed (ETXTBSY).
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = Command::new("sh")
            .args(["-c", write])
            .arg(&program)
            .arg(script)
            .status();
        assert!(written.unwrap().success());
        let kernel = self.path("vmlinuz");
        fs::write(&kernel, bzimage(|_| {})).unwrap();
        let mut services = Services::default();
        let workspace = services.get(Workspace::new).unwrap();
        let kernel = kernel_file::find(Some(&kernel), Path::new("/boot")).unwrap();
        let guest = Guest::of(kernel, &workspace, self.port).unwrap();
        let found = Found {
            path: program,
            version: self.version.to_owned(),
        };
        let mut engined = Engined {
            engine: (self.make)(found, Rc::clone(&workspace), guest),
            workspace,
        };
        let launch = Launch {
            task: noop(),
            deadline,
        };
        engined.trial(&launch)
    }

    /// How a trial failed by the VMM's doing: the command, how, and its last words.
    pub fn failure(&self, script: &str, deadline: Duration) -> (String, EngineEnd, String) {
        match self.trial(script, deadline) {
            Err(Failure::Engine(failure)) => (failure.command, failure.how, failure.tail),
            other => panic!("{script}: {other:?}"),
        }
    }

    /// Waits for the script to write down where it is to be spoken to (in `socket`), and listens there.
    pub fn listen(&self) -> UnixListener {
        let note = self.path("socket");
        let until = Instant::now() + SOON;
        loop {
            let path = fs::read_to_string(&note).unwrap_or_default();
            if let Some(path) = path.strip_suffix('\n') {
                fs::remove_file(&note).unwrap();
                return UnixListener::bind(path).unwrap();
            }
            assert!(Instant::now() < until, "the script says no socket");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The payload's first and last message, whose readings stand still while the host's counter does not, in
    /// files: no offset explains them.
    pub fn write_messages(&self) {
        let ready = Message::Ready(Ready {
            first_instruction: 1000,
            abi: ABI_VERSION,
        });
        let answer = crate::workload::known_answer(&noop()).unwrap();
        let result = Message::Result(Report {
            start: 1002,
            end: 1003,
            units: answer.units,
            digest: answer.digest,
            image: payload::image_fold().unwrap(),
            isa: Default::default(),
        });
        fs::write(self.path("ready"), ready.encode(0, 1001).to_bytes()).unwrap();
        fs::write(self.path("result"), result.encode(1, 1004).to_bytes()).unwrap();
    }
}

fn noop() -> Task {
    Task {
        workload: Workload::Noop,
        size: 0,
        reps: 1,
    }
}

/// How many still sleep for so many seconds, which no other test's scripts do.
pub fn sleepers(seconds: &str) -> usize {
    let sleeper = format!("sleep\0{seconds}\0");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    commands
        .filter(|command| command == sleeper.as_bytes())
        .count()
}

/// One request with its body, if one comes.
pub fn request(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "));
            if body.len() >= length.unwrap_or("0").parse().unwrap() {
                return Some(text);
            }
        }
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

/// Sends it; whoever should read it may have gone.
pub fn say(stream: &mut UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}
