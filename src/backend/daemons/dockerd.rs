//! A private dockerd.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::home::Home;
use super::launch::{self, Daemon, Order};
use super::program::Program;
use crate::backend::Unavailable;

/// What to type where there is none.
pub const REMEDY: &str = "apt-get install --no-install-recommends docker.io";
/// How long it may take to answer once it has accepted a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// Behind the home's containerd, and with this bridge as its default network.
pub(super) fn start(
    home: &Home,
    program: Program,
    containerd: &Daemon,
    bridge: Option<&str>,
) -> Result<Daemon, Unavailable> {
    // The system's configuration is not read.
    let config = home.file("docker.json");
    fs::write(&config, configuration(home.folder(), &program.version))
        .map_err(launch::cannot_write(&config))?;
    let path = |name: &str| home.file(name).display().to_string();
    let socket = home.file("docker.sock");
    let mut arguments: Vec<String> = [
        ("--config-file", config.display().to_string()),
        ("--containerd", path("containerd.sock")),
        ("--data-root", path("docker/root")),
        ("--exec-root", path("docker/exec")),
        ("--pidfile", path("docker.pid")),
        ("--host", format!("unix://{}", socket.display())),
        ("--group", "root".to_owned()),
        ("--exec-opt", "native.cgroupdriver=cgroupfs".to_owned()),
        ("--bridge", bridge.unwrap_or("none").to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    // Nothing of the host's network is changed: no rule, no forwarding, no proxy.
    for flag in [
        "iptables",
        "ip6tables",
        "ip-forward",
        "ip-masq",
        "userland-proxy",
    ] {
        arguments.push(format!("--{flag}=false"));
    }
    launch::start(
        home,
        Order {
            name: "dockerd",
            program,
            arguments,
            socket,
            ready: ping,
            beside: Some(containerd),
            remedy: REMEDY,
        },
    )
}

/// Up to version 23 it writes a key, by default to `/etc/docker`; later ones refuse a name that they
/// do not know.
fn configuration(folder: &Path, version: &str) -> String {
    let major = version
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    let key = folder.join("docker.key");
    match major {
        Some(..24) => serde_json::json!({ "deprecated-key-path": key }).to_string(),
        _ => "{}".to_owned(),
    }
}

/// It listens early and answers when it is ready.
fn ping(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if answer.starts_with(b"HTTP/1.") && answer.ends_with(b" 200") {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "answers {}",
            answer.escape_ascii()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_versions_are_told_where_their_key_is() {
        let has_key = |version| configuration(Path::new("/x"), version).contains("/x/docker.key");
        assert!(has_key("20.10.24+dfsg1") && has_key("23.0.1"));
        assert!(!has_key("24.0.0") && !has_key("28.2.2") && !has_key("unknown"));
    }
}
