//! Builds the payload (guests/payload) with this toolchain for this host, and hands its path and
//! SHA-256 to the library.

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
    println!("cargo::rustc-env=ISOBENCH_COMMIT={}", commit());
}

/// Two calls of the compiler, not a nested `cargo build`: nothing of the user's configuration,
/// profiles or environment, nor the path of this checkout, gets into the bytes, and a change of
/// the linker script is never missed. guests/payload/Cargo.toml is for editors and clippy.
fn build_payload(out: &Path) -> PathBuf {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let target = variable("TARGET");
    if target != "x86_64-unknown-linux-gnu" && target != "x86_64-unknown-linux-musl" {
        fail(&format!(
            "isobench measures x86-64 Linux; this build is for {target}"
        ));
    }
    let abi = out.join("libisobench_abi.rlib");
    let payload = out.join("isobench-payload");
    let compile = |name: &str, kind: &str, source: &str, product: &Path| {
        let mut rustc = Command::new(variable("RUSTC"));
        rustc
            .args(["--crate-name", name, "--crate-type", kind])
            .args(["--edition", "2024", "--target", &target])
            .args(
                "-C opt-level=3 -C panic=abort -C codegen-units=1 -C target-cpu=x86-64".split(' '),
            )
            .args(
                "-C relocation-model=static -C metadata=isobench -C overflow-checks=off".split(' '),
            )
            .arg(format!("--remap-path-prefix={}=isobench", root.display()))
            .arg("-o")
            .arg(product)
            .arg(root.join(source));
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
        Err(error) => fail(&format!("cannot run the compiler for the payload: {error}")),
    };
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        println!("cargo::warning={line}");
    }
    if !output.status.success() {
        fail(&format!(
            "building the payload ended with {}",
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
