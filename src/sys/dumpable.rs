//! Nobody gets at the harness's memory through a child that shares it.
//!
//! A child that has given up root's ids still shares the memory of the harness, which is root's, until
//! it executes. Whoever has the same id might trace it meanwhile (`__ptrace_may_access` in
//! `kernel/ptrace.c`), and so write into the harness (kin of CVE-2016-9962). The kernel forbids that
//! by itself: the change of ids marks the memory as not dumpable (prctl(2), PR_SET_DUMPABLE;
//! `commit_creds` in `kernel/cred.c`). The mark is taken back only when no such child is left: by the
//! parent, and not by the child.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

/// Children that may give up their ids just now, and what the mark was before the first of them.
#[derive(Debug)]
struct Children {
    count: u32,
    dumpable: bool,
}

static CHILDREN: Mutex<Children> = Mutex::new(Children {
    count: 0,
    dumpable: false,
});

/// To be held from before such a child is made until it has executed or died.
#[derive(Debug)]
pub(super) struct Guard(());

impl Guard {
    pub(super) fn new() -> Self {
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        if children.count == 0 {
            // SAFETY: takes integers.
            children.dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 1;
        }
        children.count += 1;
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.count -= 1;
        if children.count == 0 && children.dumpable {
            // SAFETY: takes integers. It cannot fail with 1.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        }
    }
}
