//! Builds the payload (guests/payload) and the guardian with this toolchain for this host, and hands
//! their paths and the payload's SHA-256 to the library, which embeds both.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for source in [
        "guests/abi/src",
        "guests/payload/src",
        "guests/payload/payload.ld",
        "guardian/src",
    ] {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let payload = build_payload(&out);
    let bytes = match fs::read(&payload) {
        Ok(bytes) => bytes,
        Err(error) => fail(&format!("cannot read {}: {error}", payload.display())),
    };
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    println!("cargo::rustc-env=ISOBENCH_PAYLOAD={}", payload.display());
    println!("cargo::rustc-env=ISOBENCH_PAYLOAD_SHA256={digest}");
    let guardian = build_guardian(&out);
    println!("cargo::rustc-env=ISOBENCH_GUARDIAN={}", guardian.display());
    println!("cargo::rustc-env=ISOBENCH_COMMIT={}", commit());
}

/// A call of the compiler, not a nested `cargo build`: nothing of the user's configuration, profiles
/// or environment, nor the path of this checkout, gets into the bytes.
fn compiler(name: &str, kind: &str, source: &str, product: &Path) -> Command {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let target = variable("TARGET");
    if target != "x86_64-unknown-linux-gnu" && target != "x86_64-unknown-linux-musl" {
        fail(&format!(
            "isobench measures x86-64 Linux; this build is for {target}"
        ));
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--crate-name", name, "--crate-type", kind])
        .args(["--edition", "2024", "--target", &target])
        .args("-C panic=abort -C codegen-units=1 -C target-cpu=x86-64".split(' '))
        .arg(format!("--remap-path-prefix={}=isobench", root.display()))
        .arg("-o")
        .arg(product)
        .arg(root.join(source));
    rustc
}

/// The program that removes what a killed harness leaves, and the library of names that it shares
/// with the harness. Small rather than fast.
fn build_guardian(out: &Path) -> PathBuf {
    let library = out.join("libisobench_guardian.rlib");
    let guardian = out.join("isobench-guardian");
    let compile = |name, kind, source, product: &Path| {
        let mut rustc = compiler(name, kind, source, product);
        rustc.args("-C opt-level=s -C strip=symbols".split(' '));
        rustc
    };
    run(&mut compile(
        "isobench_guardian",
        "rlib",
        "guardian/src/lib.rs",
        &library,
    ));
    run(
        compile("guardian", "bin", "guardian/src/main.rs", &guardian)
            .arg("--extern")
            .arg(format!("isobench_guardian={}", library.display())),
    );
    guardian
}

/// guests/payload/Cargo.toml is for editors and clippy. A change of the linker script is never missed.
fn build_payload(out: &Path) -> PathBuf {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let abi = out.join("libisobench_abi.rlib");
    let payload = out.join("isobench-payload");
    let compile = |name, kind, source, product: &Path| {
        let mut rustc = compiler(name, kind, source, product);
        rustc.args("-C opt-level=3 -C relocation-model=static".split(' '));
        rustc.args("-C metadata=isobench -C overflow-checks=off".split(' '));
        rustc
    };
    run(&mut compile(
        "isobench_abi",
        "rlib",
        "guests/abi/src/lib.rs",
        &abi,
    ));
    run(compile(
        "isobench_payload",
        "bin",
        "guests/payload/src/main.rs",
        &payload,
    )
    .arg("--extern")
    .arg(format!("isobench_abi={}", abi.display()))
    .args("-C lto=fat -C strip=symbols -C link-arg=-nostartfiles".split(' '))
    .args("-C link-arg=-nostdlib -C link-arg=-static -C link-arg=-no-pie".split(' '))
    .args("-C link-arg=-Wl,--build-id=none -C link-arg=-Wl,-z,noexecstack".split(' '))
    .args("-C link-arg=-Wl,-z,max-page-size=4096 -C link-arg=-T".split(' '))
    .arg("-C")
    .arg(format!(
        "link-arg={}",
        root.join("guests/payload/payload.ld").display()
    )));
    payload
}

/// Runs a compiler; what it says becomes cargo's warnings.
fn run(rustc: &mut Command) {
    let output = match rustc.output() {
        Ok(output) => output,
        Err(error) => fail(&format!(
            "cannot run the compiler for an embedded program: {error}"
        )),
    };
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        println!("cargo::warning={line}");
    }
    if !output.status.success() {
        fail(&format!(
            "building an embedded program ended with {}",
            output.status
        ));
    }
}

/// Commit of the tree this is built from, `-dirty` if it differs; "unknown" outside a repository.
fn commit() -> String {
    // Asked of git, because in a linked worktree they are not under `.git`.
    for file in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn variable(name: &str) -> String {
    match env::var(name) {
        Ok(value) => value,
        Err(error) => fail(&format!("cargo did not set {name}: {error}")),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
