//! What runs for a lab: found by the mark in its environment, whoever its parent is by now.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::plan::{MARK, Names, ROLE};
use crate::tools;

/// A process of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// What it is for.
    pub(crate) role: String,
}

/// All that run now, but this one.
pub(crate) fn of(names: &Names) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.filter(|&pid| pid != own)
        .filter_map(|pid| {
            let role = role(pid, names)?;
            Some(Process { pid, role })
        })
        .collect()
}

/// Ends all of a role (or all) softly, then hard; gives how many there were.
pub(crate) fn end(names: &Names, wanted: impl Fn(&Process) -> bool, patience: Duration) -> usize {
    let first: Vec<_> = of(names).into_iter().filter(&wanted).collect();
    signal(&first, names, Signal::TERM);
    if !wait(names, &wanted, patience) {
        let left: Vec<_> = of(names).into_iter().filter(&wanted).collect();
        signal(&left, names, Signal::KILL);
        wait(names, &wanted, HARD_PATIENCE);
    }
    first.len()
}

/// Tells all of a role to end, and does not wait.
pub(crate) fn tell(names: &Names, wanted: impl Fn(&Process) -> bool) {
    let all: Vec<_> = of(names).into_iter().filter(wanted).collect();
    signal(&all, names, Signal::TERM);
}

/// Waits until none is left.
pub(crate) fn wait(names: &Names, wanted: impl Fn(&Process) -> bool, patience: Duration) -> bool {
    let steps = patience.as_millis() / STEP.as_millis() + 1;
    for _ in 0..steps {
        if !of(names).iter().any(&wanted) {
            return true;
        }
        std::thread::sleep(STEP);
    }
    false
}

/// Ends whatever runs in a namespace of a lab, softly, then hard: a node's command may have dropped the mark (`env -i`, `su -`).
/// Gives how many there were.
pub(crate) fn end_in_namespace(name: &str, patience: Duration) -> usize {
    // Without an answer there is no namespace.
    let pids = || -> Vec<i32> {
        let text = tools::run("ip", &["netns", "pids", name]).unwrap_or_default();
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.filter(|&pid| pid != own).collect()
    };
    let first = pids();
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, HARD_PATIENCE)] {
        for pid in pids() {
            if let Some(pid) = Pid::from_raw(pid) {
                // As in `signal`.
                let _ = kill_process(pid, signal);
            }
        }
        for _ in 0..=patience.as_millis() / STEP.as_millis() {
            if pids().is_empty() {
                return first.len();
            }
            std::thread::sleep(STEP);
        }
    }
    first.len()
}

/// Whether any process has this tap device open.
pub(crate) fn hold_tap(name: &str) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return true;
    };
    let folders = entries.flatten().map(|entry| entry.path().join("fdinfo"));
    folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .any(|text| {
            text.lines()
                .any(|line| line.strip_prefix("iff:").is_some_and(|iff| iff.trim() == name))
        })
}

fn signal(processes: &[Process], names: &Names, signal: Signal) {
    for process in processes {
        // Its number may be another's by now.
        if role(process.pid, names).is_some()
            && let Some(pid) = Pid::from_raw(process.pid)
        {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

/// What a process is for, if it carries the mark.
fn role(pid: i32, names: &Names) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let value = |variable: &[u8], name: &str| {
        let rest = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(rest).into_owned())
    };
    variables
        .clone()
        .find_map(|variable| value(variable, MARK))
        .filter(|mark| mark == names.mark())?;
    Some(
        variables
            .find_map(|variable| value(variable, ROLE))
            .unwrap_or_default(),
    )
}

const STEP: Duration = Duration::from_millis(20);
const HARD_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_carries_the_mark_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::of(folder.path());
        let other = Names::of(Path::new("/somewhere/else"));
        let sleep = |names: &Names, role: &str| {
            let mut command = Command::new("sleep");
            command.arg("60").env(MARK, names.mark()).env(ROLE, role);
            command.spawn().unwrap()
        };
        let (mut ours, mut theirs) = (sleep(&names, "node 1"), sleep(&other, "node 1"));
        // A child has its parent's environment until it has become the program.
        while of(&names).is_empty() {
            std::thread::sleep(STEP);
        }
        assert_eq!(of(&names)[0].role, "node 1");
        assert_eq!(end(&names, |process| process.role == "switch", STEP), 0);
        assert_eq!(end(&names, |_| true, STEP), 1);
        assert!(!ours.wait().unwrap().success());
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
