//! Files that grow, move, shrink, come and go.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bftap_keyship::Tell;
use bftap_keyship::follow::{FileId, Follower, Found, Position};

struct Ground {
    folder: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

impl Ground {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            told: Arc::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tell(&self) -> Tell {
        let told = Arc::clone(&self.told);
        Arc::new(move |_, text| told.lock().unwrap().push(text.to_owned()))
    }

    fn follow(&self, names: &[&str]) -> Follower {
        Follower::new(names.iter().map(|name| self.path(name)).collect(), self.tell())
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

fn line(number: u32) -> String {
    format!(
        "RLPX-AES {} session={}\n",
        hex::encode(key(number)),
        hex::encode(key(!number))
    )
}

fn numbers(found: &[Found]) -> Vec<u32> {
    found
        .iter()
        .map(|found| {
            let key = found.entry.secrets.aes.expose();
            u32::from_be_bytes(key[..4].try_into().unwrap())
        })
        .collect()
}

#[test]
fn lines_are_read_when_they_are_finished_and_once() {
    let ground = Ground::new();
    let mut follower = ground.follow(&["k"]);
    assert!(follower.poll(100).is_empty());
    assert!(
        ground.told()[0].contains("k is not there yet"),
        "late creation is told"
    );
    let text = format!("# log\n{}{}", line(1), line(2));
    // Byte by byte: no cut makes a line of half of one.
    let mut seen = Vec::new();
    for byte in text.bytes() {
        ground.append("k", std::str::from_utf8(&[byte]).unwrap());
        seen.extend(numbers(&follower.poll(100)));
    }
    assert_eq!(seen, [1, 2]);
    ground.append("k", line(3).trim_end());
    assert!(follower.poll(100).is_empty(), "an unfinished last line waits");
    assert_eq!(numbers(&follower.finish()), [3], "at the end it counts");
    ground.append("k", "\n");
    assert_eq!(numbers(&follower.poll(100)), [3]);
    assert!(follower.poll(100).is_empty());
    assert_eq!(ground.told(), Vec::<String>::new());
}

#[test]
fn a_log_that_was_renamed_is_read_to_its_end_before_and_after_the_new_one_comes() {
    let ground = Ground::new();
    ground.append("k", &line(1));
    let mut follower = ground.follow(&["k"]);
    assert_eq!(numbers(&follower.poll(100)), [1]);
    fs::rename(ground.path("k"), ground.path("k.1")).unwrap();
    ground.append("k.1", &line(2));
    ground.append("k", &line(3));
    assert_eq!(
        numbers(&follower.poll(100)).into_iter().collect::<BTreeSet<_>>(),
        [2, 3].into()
    );
    // Its writer has it open still.
    ground.append("k.1", &line(4));
    assert_eq!(numbers(&follower.poll(100)), [4]);
    fs::remove_file(ground.path("k.1")).unwrap();
    ground.append("k", &line(5));
    assert_eq!(numbers(&follower.poll(100)), [5]);
}

#[test]
fn a_log_that_was_cut_starts_again_also_when_it_has_grown_beyond_its_old_length() {
    let ground = Ground::new();
    ground.append("k", &format!("{}{}", line(1), line(2)));
    let mut follower = ground.follow(&["k"]);
    follower.poll(100);
    fs::write(ground.path("k"), line(3)).unwrap();
    assert_eq!(numbers(&follower.poll(100)), [3], "shorter");
    fs::write(ground.path("k"), format!("{}{}{}", line(4), line(5), line(6))).unwrap();
    assert_eq!(numbers(&follower.poll(100)), [4, 5, 6], "longer");
    fs::write(ground.path("k"), "").unwrap();
    assert!(follower.poll(100).is_empty());
    ground.append("k", &line(7));
    assert_eq!(numbers(&follower.poll(100)), [7]);
}

#[test]
fn directories_hold_what_comes_and_goes() {
    let ground = Ground::new();
    let mut follower = ground.follow(&["logs"]);
    assert!(follower.poll(100).is_empty());
    fs::create_dir(ground.path("logs")).unwrap();
    fs::create_dir(ground.path("else")).unwrap();
    ground.append("logs/a.keylog", &line(1));
    ground.append("logs/readme.txt", "hello\n");
    ground.append("else/b.keylog", &line(2));
    symlink(ground.path("else/b.keylog"), ground.path("logs/b")).unwrap();
    symlink(ground.path("logs/a.keylog"), ground.path("logs/a-again")).unwrap();
    symlink(ground.path("nowhere"), ground.path("logs/dangling")).unwrap();
    let key_hex = hex::encode(key(3));
    ground.append(&format!("logs/cn1_cn2_{key_hex}.txt"), &format!("{key_hex}\n"));
    assert_eq!(
        numbers(&follower.poll(100)).into_iter().collect::<BTreeSet<_>>(),
        [1, 2, 3].into()
    );
    ground.append("else/b.keylog", &line(4));
    ground.append("logs/readme.txt", "RLPX? no\n");
    assert_eq!(numbers(&follower.poll(100)), [4]);
    fs::remove_file(ground.path("logs/b")).unwrap();
    ground.append("logs/c.keylog", &line(5));
    assert_eq!(numbers(&follower.poll(100)), [5]);
    for text in ground.told() {
        assert!(!text.contains(&key_hex[..16]), "{text}");
    }
}

#[test]
fn a_key_of_the_original_tool_counts_when_it_is_written_to_its_end() {
    let ground = Ground::new();
    let mut follower = ground.follow(&["d"]);
    fs::create_dir(ground.path("d")).unwrap();
    let digits = hex::encode(key(9));
    ground.append("d/cn1_cn2_x.txt", &digits[..60]);
    let mut seen = numbers(&follower.poll(100));
    ground.append("d/cn1_cn2_x.txt", &digits[60..]);
    for _ in 0..3 {
        seen.extend(numbers(&follower.poll(100)));
    }
    assert_eq!(seen, [9]);
}

#[test]
fn as_many_as_asked_for_and_the_rest_after() {
    let ground = Ground::new();
    let all: Vec<u32> = (0..3000).collect();
    let text: String = all.iter().map(|number| line(*number)).collect();
    ground.append("k", &text);
    let mut follower = ground.follow(&["k"]);
    let mut seen = Vec::new();
    loop {
        let found = follower.poll(128);
        assert!(found.len() <= 128);
        if found.is_empty() {
            break;
        }
        seen.extend(numbers(&found));
    }
    assert_eq!(seen, all);
}

#[test]
fn thousands_of_files_are_read_once_with_few_of_them_open() {
    let ground = Ground::new();
    fs::create_dir(ground.path("d")).unwrap();
    for number in 0..3000 {
        fs::write(ground.path(&format!("d/{number}.keylog")), line(number)).unwrap();
    }
    let mut follower = ground.follow(&["d"]);
    let mut seen: Vec<u32> = numbers(&follower.poll(usize::MAX));
    seen.sort_unstable();
    assert_eq!(seen, (0..3000).collect::<Vec<_>>());
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 1000, "{open} open files");
    append(&ground.path("d/7.keylog"), &line(5000));
    assert_eq!(numbers(&follower.poll(usize::MAX)), [5000]);
    let told = ground.told();
    assert_eq!(told.len(), 1, "what others can read is told once: {told:?}");
}

#[test]
fn damage_is_told_with_its_line_and_never_its_content() {
    let ground = Ground::new();
    let secret = hex::encode(key(1));
    ground.append(
        "k",
        &format!("{}RLPX-AES {}\nRLPX2 {secret}\n", line(1), &secret[..60]),
    );
    ground.append("k", &format!("RLPX {}\n", "a".repeat(200_000)));
    ground.append("k", &line(2));
    let mut follower = ground.follow(&["k"]);
    assert_eq!(numbers(&follower.poll(100)), [1, 2]);
    let told = ground.told();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("k: line 2: aes-secret: 60 characters"),
        "{told:?}"
    );
    assert!(told[1].contains("k: line 3: unknown label"), "{told:?}");
    assert!(told[2].contains("k: line 4: longer than"), "{told:?}");
    assert!(told.iter().all(|text| !text.contains(&secret[..16])));
    ground.append("k", &"RLPX x\n".repeat(100));
    follower.poll(100);
    assert!(ground.told().len() <= 4, "not one for each of a hundred lines");
}

#[test]
fn what_others_can_read_is_warned_about() {
    let ground = Ground::new();
    ground.append("k", &line(1));
    fs::set_permissions(ground.path("k"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut follower = ground.follow(&["k"]);
    follower.poll(100);
    follower.poll(100);
    let told = ground.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("mode 0644") && told[0].contains("chmod 600"),
        "{told:?}"
    );
}

#[test]
fn another_run_goes_on_where_the_file_is_what_it_was() {
    let ground = Ground::new();
    ground.append("a", &format!("{}{}", line(1), line(2)));
    ground.append("b", &line(3));
    let roots = || vec![ground.path("a"), ground.path("b")];
    let mut follower = Follower::new(roots(), ground.tell());
    let found = follower.poll(100);
    assert_eq!(numbers(&found), [1, 2, 3]);
    let places: HashMap<FileId, Position> = found.iter().map(|found| (found.file, found.behind)).collect();
    drop(follower);
    ground.append("a", &line(4));
    // As long as before, and something else: in place, so that the inode is the same.
    fs::write(ground.path("b"), line(5)).unwrap();
    let mut follower = Follower::resume(roots(), places, ground.tell());
    assert_eq!(numbers(&follower.poll(100)), [4, 5]);
    follower.rewind();
    assert_eq!(numbers(&follower.poll(100)), [1, 2, 4, 5]);
}

/// What a node, log rotation and a slow disk may do, in any order: no line is missed, none comes twice.
#[test]
fn any_history_gives_each_line_once() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..60 {
        let ground = Ground::new();
        let mut follower = ground.follow(&["k"]);
        let (mut written, mut seen, mut pending, mut old) = (0, Vec::new(), String::new(), 0);
        for _ in 0..120 {
            match random(10) {
                0..6 => {
                    pending.push_str(&line(written));
                    written += 1;
                }
                6 => {
                    // Rotated between two lines, with the follower having seen the file at least once.
                    ground.append("k", &pending);
                    pending.clear();
                    seen.extend(numbers(&follower.poll(7)));
                    let _ = fs::rename(ground.path("k"), ground.path(&format!("old{old}")));
                    old += 1;
                }
                7 => seen.extend(numbers(&follower.poll(1 + random(5) as usize))),
                _ => {
                    let cut = random(pending.len() as u64 + 1) as usize;
                    ground.append("k", &pending[..cut]);
                    pending.drain(..cut);
                }
            }
        }
        ground.append("k", &pending);
        loop {
            let found = follower.poll(50);
            if found.is_empty() {
                break;
            }
            seen.extend(numbers(&found));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..written).collect::<Vec<_>>());
    }
}
