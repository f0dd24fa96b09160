//! Rights are given up once the interfaces are open.
//!
//! Two steps, because capabilities are a thread's own on Linux and a new thread has those of the one that started it:
//! [`keep_capture_only`], then the threads are started that open interfaces again, then [`give_up`]. All of it has to be done while
//! there is one thread only: the others would keep what they have.

use std::fs;
use std::io;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::exit::Usage;
use crate::term::{Level, safe, tell};

/// Who the program goes on as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl User {
    /// The user that was named, or who called sudo; `None` to stay who we are.
    ///
    /// # Errors
    /// There is no such user, or we cannot become anybody else.
    pub(crate) fn choose(named: Option<&str>) -> Result<Option<Self>, Usage> {
        if let Some(name) = named {
            if !geteuid().is_root() {
                return Err(Usage("--user: only root can go on as somebody else".to_owned()));
            }
            return Self::named(name).map(Some);
        }
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        match (number("SUDO_UID"), number("SUDO_GID")) {
            (Some(uid), Some(gid)) if geteuid().is_root() && uid != 0 => {
                Ok(Some(Self::with_groups(uid, gid, &read(PASSWD), &read(GROUP))))
            }
            _ => Ok(None),
        }
    }

    fn named(name: &str) -> Result<Self, Usage> {
        Self::parse(name, &read(PASSWD), &read(GROUP)).ok_or_else(|| {
            Usage(format!(
                "--user {}: there is no such user in {PASSWD}; UID:GID names one by numbers",
                safe(name)
            ))
        })
    }

    fn parse(name: &str, users: &str, groups: &str) -> Option<Self> {
        if let Some((uid, gid)) = name.split_once(':') {
            return Some(Self::with_groups(
                uid.parse().ok()?,
                gid.parse().ok()?,
                users,
                groups,
            ));
        }
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = fields.find(|fields| fields.first() == Some(&name))?;
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        Some(Self::with_groups(uid, gid, users, groups))
    }

    /// With the groups that the user is listed in.
    fn with_groups(uid: u32, gid: u32, users: &str, groups: &str) -> Self {
        let text = uid.to_string();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(&text)).then_some(name)
        });
        let listed = groups.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let member = fields.get(3)?.split(',').any(|member| Some(member) == name);
            fields.get(2)?.parse().ok().filter(|_| member)
        });
        let mut groups: Vec<u32> = std::iter::once(gid).chain(listed).collect();
        groups.sort_unstable();
        groups.dedup();
        Self { uid, gid, groups }
    }
}

/// Becomes `user`, and gives up everything but the right to open interfaces again, which the threads that are started next inherit.
///
/// # Errors
/// The system refuses; going on with all rights would be worse than not at all.
pub(crate) fn keep_capture_only(user: Option<&User>) -> anyhow::Result<()> {
    let held = capabilities(None)
        .context("cannot ask for capabilities")?
        .permitted;
    empty_bounding_set(held)?;
    if let Some(user) = user {
        become_user(user).with_context(|| format!("cannot go on as user {}", user.uid))?;
    } else if getuid().is_root() && !held.is_empty() {
        let text = "still root, but without root's rights: files that others own cannot be read or written; --user NAME is safer";
        tell(Level::Note, text);
    }
    let kept = held & CapabilitySet::NET_RAW;
    set(kept)?;
    match clear_ambient_capability_set() {
        // Linux before 4.3 has none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error).context("cannot give up ambient capabilities"),
    }
    set_no_new_privs(true).context("cannot give up the way to new rights")
}

/// Gives up what is left.
///
/// # Errors
/// The system refuses.
pub(crate) fn give_up() -> anyhow::Result<()> {
    set(CapabilitySet::empty())
}

fn set(kept: CapabilitySet) -> anyhow::Result<()> {
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("cannot give up capabilities")
}

/// Nothing that this program starts can get capabilities, where we may see to that.
fn empty_bounding_set(held: CapabilitySet) -> anyhow::Result<()> {
    if !held.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => {}
            Ok(false) => continue,
            // Behind the last one that this kernel knows.
            Err(_) => break,
        }
        remove_capability_from_bounding_set(capability).context("cannot empty the bounding set")?;
    }
    Ok(())
}

fn become_user(user: &User) -> io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_keep_capabilities(true)?;
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    Ok(())
}

fn read(path: &str) -> String {
    // A system without it has no names; numbers still do.
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\ntap:x:993:991::/nonexistent:/usr/sbin/nologin\n";
    const GROUPS: &str = "root:x:0:\nkeys:x:500:other,tap\ntap:x:991:\nshort:x:7\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let tap = User {
            uid: 993,
            gid: 991,
            groups: vec![500, 991],
        };
        assert_eq!(User::parse("tap", USERS, GROUPS), Some(tap.clone()));
        assert_eq!(User::parse("993:991", USERS, GROUPS), Some(tap));
        let unknown = User::parse("65534:65533", USERS, GROUPS).unwrap();
        assert_eq!((unknown.uid, unknown.groups), (65534, vec![65533]));
        for wrong in ["nobody", "broken", "993", "993:tap", ""] {
            assert_eq!(User::parse(wrong, USERS, GROUPS), None, "{wrong}");
        }
    }
}
