//! Lines as dockerd 20.10.24 has written them, ids and names shortened.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;

const NAME: &str = "isobench-1-2";

/// One container with `--network none`, from its creation to its removal.
const GOLDEN: &str = r#"{"status":"create","id":"0445","from":"isobench-payload:x","Type":"container","Action":"create","Actor":{"ID":"0445","Attributes":{"image":"isobench-payload:x","isobench":"isobench-1-2","name":"isobench-1-2"}},"scope":"local","time":1795978293,"timeNano":1795978293374659443}
{"status":"attach","id":"0445","from":"isobench-payload:x","Type":"container","Action":"attach","Actor":{"ID":"0445","Attributes":{"image":"isobench-payload:x","isobench":"isobench-1-2","name":"isobench-1-2"}},"scope":"local","time":1795978293,"timeNano":1795978293375627898}
{"Type":"network","Action":"connect","Actor":{"ID":"6bf9","Attributes":{"container":"0445","name":"none","type":"null"}},"scope":"local","time":1795978293,"timeNano":1795978293448611797}
{"status":"start","id":"0445","from":"isobench-payload:x","Type":"container","Action":"start","Actor":{"ID":"0445","Attributes":{"image":"isobench-payload:x","isobench":"isobench-1-2","name":"isobench-1-2"}},"scope":"local","time":1795978293,"timeNano":1795978293826926415}
{"status":"die","id":"0445","from":"isobench-payload:x","Type":"container","Action":"die","Actor":{"ID":"0445","Attributes":{"exitCode":"0","image":"isobench-payload:x","isobench":"isobench-1-2","name":"isobench-1-2"}},"scope":"local","time":1795978293,"timeNano":1795978293855498653}
{"Type":"network","Action":"disconnect","Actor":{"ID":"6bf9","Attributes":{"container":"0445","name":"none","type":"null"}},"scope":"local","time":1795978293,"timeNano":1795978293898655891}
{"status":"destroy","id":"0445","from":"isobench-payload:x","Type":"container","Action":"destroy","Actor":{"ID":"0445","Attributes":{"image":"isobench-payload:x","isobench":"isobench-1-2","name":"isobench-1-2"}},"scope":"local","time":1795978293,"timeNano":1795978293974550672}
"#;

const TIMES: [i64; 7] = [
    1_795_978_293_374_659_443,
    1_795_978_293_375_627_898,
    1_795_978_293_448_611_797,
    1_795_978_293_826_926_415,
    1_795_978_293_855_498_653,
    1_795_978_293_898_655_891,
    1_795_978_293_974_550_672,
];

fn golden() -> Vec<Event> {
    let events = KNOWN.iter().zip(TIMES);
    let events = events.map(|(known, wall)| Event {
        name: known.name,
        wall,
    });
    events.collect()
}

/// A container's event with this beside its name.
fn line(action: &str, rest: &str) -> String {
    format!(
        r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"0445","Attributes":{{"name":"{NAME}"}}}}{rest}}}"#
    )
}

#[test]
fn what_dockerd_writes_is_read() {
    assert_eq!(parse(GOLDEN.as_bytes(), NAME), Ok(golden()));
    assert_eq!(parse(b"", NAME), Ok(Vec::new()));
    assert_eq!(parse(GOLDEN.as_bytes(), "isobench-1-3"), Ok(Vec::new()));
}

/// Events are dated before they are put into their list, so two may be in it the other way round.
#[test]
fn the_order_of_the_lines_says_nothing() {
    let mut lines: Vec<&str> = GOLDEN.lines().collect();
    lines.reverse();
    let mut found = parse(lines.join("\n").as_bytes(), NAME).unwrap();
    found.reverse();
    assert_eq!(found, golden());
}

#[test]
fn what_is_unknown_or_anothers_is_passed_over() {
    let long = line(
        "die",
        &format!(r#","timeNano":1,"x":"{}""#, "y".repeat(LONGEST)),
    );
    let foreign = [
        line("exec_start: /bin/sh", r#","timeNano":5"#),
        line("kill", ""),
        r#"{"Type":"network","Action":"connect","Actor":{"ID":"6bf9","Attributes":{"container":"9999"}},"timeNano":5}"#.to_owned(),
        r#"{"Type":"network","Action":"connect","Actor":{"ID":"6bf9","Attributes":{}},"timeNano":5}"#.to_owned(),
        r#"{"Type":"container","Action":"die","Actor":{"ID":"9999","Attributes":{"name":"web"}},"timeNano":5}"#.to_owned(),
        r#"{"Type":"image","Action":"pull"}"#.to_owned(),
        "{}".to_owned(),
        String::new(),
        long,
    ];
    let body = format!("{}\r\n{GOLDEN}", foreign.join("\n"));
    assert_eq!(parse(body.as_bytes(), NAME), Ok(golden()));
}

/// What the daemon no longer keeps is absent, and nothing else is taken for it.
#[test]
fn what_is_not_there_is_absent() {
    let later: String = GOLDEN.split_inclusive('\n').skip(3).collect();
    assert_eq!(parse(later.as_bytes(), NAME).unwrap(), golden()[3..]);
    let networks = GOLDEN.lines().filter(|line| line.contains("network"));
    let networks: Vec<&str> = networks.collect();
    // Whose network that was nobody says.
    assert_eq!(parse(networks.join("\n").as_bytes(), NAME), Ok(Vec::new()));
}

#[test]
fn what_is_no_event_is_refused_by_its_line() {
    for (bad, expected) in [
        ("220 mail.example ESMTP", "no JSON"),
        (r#"{"Type":"container","#, "no JSON"),
        ("[1]", "no object"),
        (&line("die", ""), "it has no timeNano"),
        (&line("die", r#","timeNano":"now""#), "it has no timeNano"),
        (&line("die", r#","timeNano":-1"#), "it has no timeNano"),
        (&line("die", r#","timeNano":1e300"#), "it has no timeNano"),
    ] {
        let first = line("create", r#","timeNano":5"#);
        let found = parse(format!("{first}\n{bad}").as_bytes(), NAME);
        let Err(Untold::Garbage { line: 2, problem }) = found else {
            panic!("{bad}: {found:?}");
        };
        assert_eq!(problem, expected, "{bad}");
    }
    let twice = format!("{GOLDEN}{}", line("start", r#","timeNano":5"#));
    assert_eq!(parse(twice.as_bytes(), NAME), Err(Untold::Twice("start")));
}

#[test]
fn times_are_written_as_the_api_takes_them() {
    assert_eq!(seconds(TIMES[0]), "1795978293.374659443");
    assert_eq!(seconds(1_000_000_005), "1.000000005");
    assert_eq!(seconds(-1), "-1.999999999");
}

#[test]
fn a_daemon_of_another_kernel_has_another_clock() {
    let ours = uname().unwrap().release().to_string_lossy().into_owned();
    assert_eq!(same_kernel(Some(&ours)), Ok(()));
    assert_eq!(same_kernel(None), Ok(()));
    let other = same_kernel(Some("6.6.0-linuxkit\n")).unwrap_err();
    assert!(
        other.to_string().contains("6.6.0-linuxkit, this host's is"),
        "{other}"
    );
}

/// The request has both ends of the time, so that the daemon waits for nothing more; its refusal is a reason
/// and no failure.
#[test]
fn one_request_with_both_ends_of_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = std::thread::spawn(move || {
        let mut asked = Vec::new();
        let refused = r#"{"message":"no\nevents"}"#;
        for (status, body) in [("200 OK", GOLDEN), ("500 Internal Server Error", refused)] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            asked.push(String::from_utf8_lossy(&request[..n]).into_owned());
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    let ask = || ask(&socket, NAME, 1_000_000_005, 2_000_000_000);
    assert_eq!(ask(), Ok(golden()));
    let Err(Untold::Unanswered(why)) = ask() else {
        panic!("answered");
    };
    assert_eq!(why, "refused: no | events");
    let asked = daemon.join().unwrap();
    let head = "GET /events?since=1.000000005&until=2.000000000&filters=%7B%22";
    assert!(asked.iter().all(|one| one.starts_with(head)), "{asked:?}");
    assert!(
        matches!(ask(), Err(Untold::Unanswered(_))),
        "nobody listens"
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes, NAME);
    }

    /// An answer that breaks off gives no event that was not there.
    #[test]
    fn a_cut_invents_nothing(at in 0..GOLDEN.len()) {
        match parse(&GOLDEN.as_bytes()[..at], NAME) {
            Ok(found) => prop_assert!(golden().starts_with(&found)),
            Err(why) => prop_assert!(matches!(why, Untold::Garbage { .. }), "{:?}", why),
        }
    }
}
