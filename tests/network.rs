//! A container's pair of interfaces: it answers, it collides with nobody's, and nothing of it stays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests state expectations, too.

mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use isobench::backend::container::Container;
use isobench::backend::container::options::Options;
use isobench::backend::{Backend, Instance};
use isobench::workload::Workload;
use stage::{INNER, Traces, alone, container_of, launch};

fn veth(test: &str) -> Option<Container> {
    container_of(test, Options::parse("network=veth").unwrap())
}

/// The addresses of a process's network namespace, without its loopback's.
fn addresses(pid: i32) -> BTreeSet<Ipv4Addr> {
    // An address stands alone in its line, and in the next one that it is this host's own.
    let trie = fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap();
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[1] == "/32 host LOCAL")
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback())
        .collect()
}

/// Whether somebody is there: nobody listens, and a kernel that has the address says so.
fn answers(address: Ipv4Addr) -> bool {
    let port = SocketAddr::from((address, 9));
    let refused = TcpStream::connect_timeout(&port, Duration::from_secs(2)).unwrap_err();
    refused.kind() == ErrorKind::ConnectionRefused
}

fn hold(container: &mut Container) -> Box<dyn Instance> {
    container.hold(&launch(Workload::Idle)).unwrap()
}

#[test]
fn an_instance_has_an_interface_that_answers() {
    let _alone = alone();
    let before = Traces::look();
    let Some(mut container) = veth("answers") else {
        return;
    };
    let held = hold(&mut container);
    let pid = stage::children()[0];
    let interfaces = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let names: Vec<&str> = interfaces
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    assert_eq!(names, ["lo", "eth0"]);
    let routes = fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap();
    assert!(routes.contains("eth0\t00000000\t"), "{routes}");
    let found = addresses(pid);
    assert_eq!(found.len(), 1, "{found:?}");
    let address = *found.first().unwrap();
    let [a, b, ..] = address.octets();
    assert!((a, b & !1) == (198, 18), "{address}");
    assert!(answers(address));
    // The control: the last address of its net, which is given to nobody else yet.
    let nobody = Ipv4Addr::from_bits(address.to_bits() | 0x3fe);
    assert!(!answers(nobody));
    held.release().unwrap();
    drop(container);
    assert_eq!(Traces::look(), before);
}

#[test]
fn fifty_trials_leave_no_link() {
    let _alone = alone();
    let before = Traces::look();
    let Some(mut container) = veth("fifty") else {
        return;
    };
    for _ in 0..50 {
        let seen = container.trial(&launch(Workload::Noop)).unwrap();
        stage::assert_consistent(&seen, &["veth_create", "veth_up", "loopback"]);
    }
    drop(container);
    assert_eq!(Traces::look(), before);
}

/// Two kinds of container share one bridge, and no two instances an address.
#[test]
fn many_at_once_have_an_address_each() {
    let _alone = alone();
    let before = Traces::look();
    let Some(mut one) = veth("many") else {
        return;
    };
    let other = Options::parse("with=user:network=veth").unwrap();
    let Some(mut other) = container_of("many", other) else {
        return;
    };
    let held: Vec<_> = (0..20)
        .map(|n| hold(if n % 2 == 0 { &mut one } else { &mut other }))
        .collect();
    let links = stage::links(std::process::id());
    // And perhaps those of first launches, which go later.
    assert!(links.len() >= 21, "a bridge and a port each: {links:?}");
    let all: BTreeSet<_> = stage::children().into_iter().flat_map(addresses).collect();
    assert_eq!(all.len(), 20);
    assert!(all.into_iter().all(answers));
    for instance in held {
        instance.release().unwrap();
    }
    drop((one, other));
    assert_eq!(Traces::look(), before);
}

/// Whatever is left out beside it, also the pid namespace, in which a process id means the child.
#[test]
fn it_needs_no_other_mechanism() {
    let _alone = alone();
    for options in ["only=veth", "only=veth+user", "network=veth:without=pid"] {
        let Some(mut container) = container_of("alone", Options::parse(options).unwrap()) else {
            return;
        };
        let held = hold(&mut container);
        let found = addresses(stage::children()[0]);
        assert_eq!(found.len(), 1, "{options}: {found:?}");
        assert!(found.into_iter().all(answers), "{options}");
        held.release().unwrap();
    }
}

/// Not a test of its own: another harness, which holds an instance until its input ends.
#[test]
fn inner_holds_a_pair() {
    if std::env::var_os(INNER).is_none_or(|v| v != "pair") {
        return;
    }
    let mut container = veth("inner").unwrap();
    let held = hold(&mut container);
    let found = addresses(stage::children()[0]);
    println!("\naddress {}", found.first().unwrap());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    held.release().unwrap();
}

/// Another harness with an instance.
struct Another {
    harness: Child,
    address: Ipv4Addr,
    /// Whoever writes to a pipe without a reader fails.
    _output: BufReader<ChildStdout>,
}

impl Another {
    fn start(command: &mut Command) -> Self {
        let mut harness = command
            .args(["--exact", "--nocapture", "inner_holds_a_pair"])
            .env(INNER, "pair")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(harness.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("address ")?.parse().ok());
        Self {
            harness,
            address: address.unwrap(),
            _output: output,
        }
    }

    /// Lets it end.
    fn end(mut self) {
        drop(self.harness.stdin.take());
        assert!(self.harness.wait().unwrap().success());
        assert_eq!(stage::links(self.harness.id()), BTreeSet::new());
    }
}

#[test]
fn two_harnesses_at_once_do_not_collide() {
    let _alone = alone();
    if veth("two").is_none() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let first = Another::start(&mut Command::new(&own));
    let second = Another::start(&mut Command::new(&own));
    let net = |of: &Another| of.address.to_bits() >> 10;
    assert_ne!(net(&first), net(&second));
    assert!(answers(first.address) && answers(second.address));
    first.end();
    assert!(answers(second.address), "it is still there");
    second.end();
}

#[test]
fn the_bridge_of_a_killed_harness_goes_and_no_other() {
    let _alone = alone();
    if veth("killed").is_none() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    // In another pid namespace its process id says nothing here.
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]).arg(&own);
    let elsewhere = Another::start(&mut unshare);
    let Another {
        harness: mut killed,
        address,
        ..
    } = Another::start(&mut Command::new(&own));
    let pid = killed.id();
    assert!(stage::links(pid).len() >= 2, "a bridge and a port");
    assert!(answers(address));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !stage::links(pid).is_empty() {
        assert!(Instant::now() < end, "{:?}", stage::links(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
    // The next start does not take the other one for dead, either.
    drop(veth("killed").unwrap());
    assert!(answers(elsewhere.address));
    elsewhere.end();
}

#[test]
fn who_is_not_root_is_told_so() {
    let _alone = alone();
    if stage::is_root() {
        let Some(output) = stage::as_user(65534, &["who_is_not_root_is_told_so"]) else {
            println!("skipped: not root: nobody may execute in the temp folder");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let refused = Container::new(Options::parse("network=veth").unwrap()).unwrap_err();
    assert!(refused.reason.starts_with("veth: "), "{}", refused.reason);
    assert_eq!(refused.remedy, "run as root");
}
