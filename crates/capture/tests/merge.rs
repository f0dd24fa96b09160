//! Several capture files as one.

use bftap_capture::packet::RLPX_SECRETS;
use bftap_capture::source::{CaptureReader, MergedCapture, ReadLimits, Tap};
use bftap_testkit::capture_file::{PcapFile, PcapNgFile};

/// A file with packets of these times (in seconds) and contents.
fn pcap(packets: &[(u32, &str)]) -> Vec<u8> {
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    for (time, content) in packets {
        file.packet(*time, 0, content.as_bytes(), content.len() as u32);
    }
    file.bytes()
}

fn merged(files: &[Vec<u8>], block: usize) -> MergedCapture {
    let limits = ReadLimits {
        block,
        ..ReadLimits::default()
    };
    let open =
        |file: &Vec<u8>| CaptureReader::open(Box::new(std::io::Cursor::new(file.clone())), limits).unwrap();
    MergedCapture::new(files.iter().map(open).collect())
}

/// Everything in order: packets with their tap, and secrets in brackets.
fn all(capture: &mut MergedCapture) -> Vec<String> {
    let mut items = Vec::new();
    while let Some(batch) = capture.next_batch() {
        let mut secrets = batch.secrets.iter().peekable();
        for index in 0..=batch.records.len() {
            while let Some(block) = secrets.next_if(|block| block.before as usize == index) {
                items.push(format!("[{}]", String::from_utf8_lossy(&block.lines)));
            }
            if let Some(record) = batch.records.get(index) {
                items.push(format!(
                    "{}@{}",
                    String::from_utf8_lossy(batch.bytes(record)),
                    record.tap.0
                ));
            }
        }
        assert!(secrets.next().is_none(), "secrets in order");
    }
    items
}

#[test]
fn packets_come_by_time_then_content() {
    let files = [
        pcap(&[(1, "a"), (4, "d"), (5, "z"), (5, "m"), (9, "i")]),
        pcap(&[(2, "b"), (3, "c"), (5, "n"), (5, "x")]),
        pcap(&[]),
        pcap(&[(5, "n"), (7, "h")]),
    ];
    let want = [
        "a@0", "b@1", "c@1", "d@0", "n@1", "n@2", "x@1", "z@0", "m@0", "h@2", "i@0",
    ];
    for block in [16, 40, 1 << 20] {
        let mut capture = merged(&files, block);
        assert_eq!(all(&mut capture), want, "blocks of {block}");
        let tap = |reader| Tap { reader, interface: 0 };
        assert_eq!(capture.taps(), [tap(0), tap(1), tap(3)]);
        assert_eq!(capture.problems().count(), 0);
        assert_eq!(
            capture
                .readers()
                .map(|reader| reader.stats().packets)
                .sum::<u64>(),
            11
        );
    }
}

#[test]
fn one_file_keeps_its_order() {
    let file = pcap(&[(3, "c"), (1, "a"), (2, "b")]);
    assert_eq!(
        all(&mut merged(std::slice::from_ref(&file), 1 << 20)),
        ["c@0", "a@0", "b@0"]
    );
    assert_eq!(
        all(&mut merged(&[file, pcap(&[(2, "x")])], 1 << 20)),
        ["x@0", "c@1", "a@1", "b@1"]
    );
    assert!(all(&mut merged(&[], 1 << 20)).is_empty());
}

#[test]
fn interfaces_of_all_files_are_told_apart() {
    let mut first = PcapNgFile::new(false);
    first
        .interface(1, 0, &[])
        .interface(1, 0, &[])
        .enhanced(1, 1_000_000, b"a", 1)
        .enhanced(0, 4_000_000, b"d", 1);
    let files = [first.bytes(), pcap(&[(2, "b")]), first.bytes()];
    let mut capture = merged(&files, 1 << 20);
    assert_eq!(all(&mut capture), ["a@0", "a@1", "b@2", "d@3", "d@4"]);
    let taps: Vec<_> = capture
        .taps()
        .iter()
        .map(|tap| (tap.reader, tap.interface))
        .collect();
    assert_eq!(taps, [(0, 1), (2, 1), (1, 0), (0, 0), (2, 0)]);

    let mut alone = merged(&files[..1], 1 << 20);
    assert_eq!(
        all(&mut alone),
        ["a@0", "d@1"],
        "numbered in order of appearance here too"
    );
    assert_eq!(
        alone.taps(),
        [
            Tap {
                reader: 0,
                interface: 1
            },
            Tap {
                reader: 0,
                interface: 0
            }
        ]
    );
}

#[test]
fn secrets_come_before_the_packets_behind_them() {
    let mut file = PcapNgFile::new(true);
    file.secrets(RLPX_SECRETS, b"s1")
        .interface(1, 0, &[])
        .enhanced(0, 2_000_000, b"b", 1);
    file.secrets(RLPX_SECRETS, b"s2")
        .enhanced(0, 4_000_000, b"d", 1)
        .secrets(RLPX_SECRETS, b"s3");
    let files = [pcap(&[(1, "a"), (3, "c")]), file.bytes()];
    for block in [16, 100, 1 << 20] {
        assert_eq!(
            all(&mut merged(&files, block)),
            ["[s1]", "a@0", "b@1", "[s2]", "c@0", "d@1", "[s3]"],
            "blocks of {block}"
        );
        assert_eq!(
            all(&mut merged(&files[1..], block)),
            ["[s1]", "b@0", "[s2]", "d@0", "[s3]"]
        );
    }
}

#[test]
fn a_broken_file_does_not_end_the_others() {
    let mut cut = pcap(&[(1, "a"), (4, "d")]);
    cut.pop();
    let files = [pcap(&[(2, "b"), (6, "f")]), cut.clone(), pcap(&[(5, "e")])];
    let mut capture = merged(&files, 1 << 20);
    assert_eq!(all(&mut capture), ["a@0", "b@1", "e@2", "f@1"]);
    let problems: Vec<_> = capture
        .problems()
        .map(|(reader, error)| (reader, error.to_string()))
        .collect();
    let message = "the file is cut off behind packet 1: what starts at byte 41 has 16 of 17 bytes";
    assert_eq!(problems, [(1, message.to_owned())]);

    let mut alone = merged(&[cut], 1 << 20);
    assert_eq!(all(&mut alone), ["a@0"]);
    assert_eq!(alone.problems().count(), 1);
}

#[test]
fn long_captures_merge_alike_in_any_block_size() {
    // Times that run at different speeds, with ties; contents tell packets apart.
    let file = |salt: u32, step: u32| {
        let packets: Vec<(u32, String)> = (0..9000).map(|i| (i / step, format!("{salt}-{i}"))).collect();
        pcap(
            &packets
                .iter()
                .map(|(time, content)| (*time, content.as_str()))
                .collect::<Vec<_>>(),
        )
    };
    let files = [file(1, 1), file(2, 3), file(3, 2), file(2, 3)];
    let want = all(&mut merged(&files, 1 << 20));
    assert_eq!(want.len(), 36_000);
    assert_eq!(all(&mut merged(&files, 1000)), want);
    for salt in 1..=3 {
        let prefix = format!("{salt}-");
        let own: Vec<usize> = want
            .iter()
            .filter_map(|item| item.strip_prefix(&prefix)?.split('@').next()?.parse().ok())
            .collect();
        let copies = if salt == 2 { 2 } else { 1 };
        assert_eq!(own.len(), 9000 * copies);
        assert!(copies == 2 || own.is_sorted(), "each file keeps its order");
    }
}
