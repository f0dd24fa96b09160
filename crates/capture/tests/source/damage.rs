//! Capture files that are cut or damaged: what is before that is given, and the place is named.

use bftap_capture::fuzzing::{fuzz_pcap, fuzz_pcapng, read_all};
use bftap_capture::source::{CaptureError, CaptureReader, ReadLimits};
use bftap_testkit::capture_file::{PcapFile, PcapNgFile};

use crate::{bytes, gzip, open, read, small_pcap, small_pcapng, zstd_of};

#[test]
fn packed_files_that_are_cut_or_damaged() {
    // Packets that do not pack well, so that there is much to cut.
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    let mut state = 1_u32;
    for index in 0..2000 {
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let content: Vec<u8> = bytes.take(300).collect();
        file.packet(index, 0, &content, 300);
    }
    let plain = file.bytes();
    let want = read_all(&plain, usize::MAX, 1 << 20, 1 << 20);
    for (format, packed) in [("gzip", gzip(&plain)), ("zstd", zstd_of(&plain))] {
        let mut most = 0;
        for cut in (5..packed.len()).step_by(19_997) {
            let content = read_all(&packed[..cut], usize::MAX, 1 << 12, 1 << 20);
            let problem = content.problem.expect("a problem");
            assert!(
                problem.contains(&format!("the {format} data is cut off")),
                "{problem}"
            );
            assert_eq!(content.packets, want.packets[..content.packets.len()]);
            most = most.max(content.packets.len());
        }
        assert!(most > 0, "{format} gives what comes before the cut");
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0);
        let content = read_all(&damaged, usize::MAX, 1 << 20, 1 << 20);
        assert!(content.problem.is_some());
    }
}

#[test]
fn a_cut_file_gives_all_whole_packets() {
    let plain = small_pcap(true, PcapFile::NANOS).bytes();
    let want = read(&plain);
    let ends = [43, 59, 375];
    assert_eq!(plain.len(), ends[2]);
    for cut in 0..plain.len() {
        let content = read(&plain[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(content.packets, want.packets[..whole], "cut at {cut}");
        let at_an_end = cut == 24 || ends.contains(&cut);
        assert_eq!(
            content.problem.is_none(),
            at_an_end,
            "cut at {cut}: {:?}",
            content.problem
        );
    }
    let problem = read(&plain[..60]).problem.unwrap();
    assert_eq!(
        problem,
        "the file is cut off behind packet 2: what starts at byte 59 has 1 of 16 bytes"
    );
}

#[test]
fn a_cut_pcapng_file_gives_all_whole_packets() {
    let file = small_pcapng();
    let want = read(&file);
    let mut counts = Vec::new();
    for cut in 0..file.len() {
        let content = read(&file[..cut]);
        assert_eq!(
            content.packets,
            want.packets[..content.packets.len()],
            "cut at {cut}"
        );
        assert_eq!(
            content.secrets,
            want.secrets[..content.secrets.len()],
            "cut at {cut}"
        );
        counts.push(content.packets.len());
    }
    assert!(counts.is_sorted());
    assert_eq!(counts.last(), Some(&3));
}

#[test]
fn no_flipped_byte_makes_it_panic_or_hang() {
    for file in [
        small_pcap(false, PcapFile::MICROS).bytes(),
        small_pcapng(),
        gzip(&small_pcapng()),
        zstd_of(&small_pcapng()),
    ] {
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut flipped = file.clone();
                flipped[at] ^= flip;
                fuzz_pcap(&flipped);
                fuzz_pcapng(&flipped);
            }
        }
    }
}

/// Found by fuzzing: how much a damaged frame gives depends on how much it is asked for.
#[test]
fn damaged_frames_do_not_make_it_panic() {
    let mut first = [0; 53];
    first[..8].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 1]);
    first[39..46].copy_from_slice(b"!unk\0[\0");
    fuzz_pcap(&first);
    fuzz_pcapng(b"\x28\xb5\x2f\xfdd\x89\0\0\0\0\xb2\x03\0\0P\0\0\0\0\n\0\0\0\0\0\x04\0C\x87\0\0C");
}

#[test]
fn lies_about_lengths_cost_nothing_and_are_named() {
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    file.packet(1, 0, b"x", 1);
    for word in [1, 0, 0x7fff_ffff, 60_u32] {
        file.raw(&word.to_le_bytes());
    }
    file.raw(&[0; 100]);
    let content = read(&file.bytes());
    assert_eq!(bytes(&content), [b"x"]);
    assert_eq!(
        content.problem.unwrap(),
        "nonsense at byte 41, behind packet 1: a length of 2147483647 bytes where at most 1048576 are possible; \
         the file is damaged there"
    );
    // A believable lie: the space for it is taken as its bytes come, and they do not.
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    for word in [1, 0, 64 << 20, 60_u32] {
        file.raw(&word.to_le_bytes());
    }
    let mut reader = open(&file.bytes()).unwrap();
    assert!(matches!(
        reader.next_batch(),
        Err(CaptureError::Cut {
            needed: 67_108_880,
            present: 16,
            ..
        })
    ));
}

#[test]
fn a_block_that_is_passed_over_may_be_cut() {
    let mut file = PcapNgFile::new(false);
    file.interface(1, 0, &[]).enhanced(0, 1, b"x", 1);
    let start = file.bytes().len();
    file.block(0x8000_0001, &vec![7; 2 << 20]);
    let file = file.bytes();
    let content = read_all(&file[..file.len() - 1], 1 << 12, 1 << 14, 1 << 20);
    assert_eq!(bytes(&content), [b"x"]);
    let (present, needed) = ((2 << 20) + 11, (2 << 20) + 12);
    assert_eq!(
        content.problem.unwrap(),
        format!(
            "the file is cut off behind packet 1: what starts at byte {start} has {present} of {needed} bytes"
        )
    );
}

#[test]
fn nonsense_in_pcapng_is_named() {
    let start = |file: &PcapNgFile| file.bytes().len();
    let mut base = PcapNgFile::new(false);
    base.interface(1, 0, &[]).enhanced(0, 0, b"x", 1);
    let check = |file: &PcapNgFile, at: usize, what: &str| {
        let content = read(&file.bytes());
        assert_eq!(bytes(&content), [b"x"]);
        let problem = content.problem.unwrap();
        assert!(
            problem.contains(&format!("byte {at}, behind packet 1")),
            "{problem}"
        );
        assert!(problem.contains(what), "{problem}");
    };
    let at = start(&base);
    check(
        base.clone().enhanced(1, 0, b"y", 1),
        at,
        "a packet of interface 1 where 1 are described",
    );
    check(
        base.clone().raw(&[6, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0]),
        at,
        "a block of 33 bytes",
    );
    check(
        base.clone().raw(&[6, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0]),
        at,
        "a block of 28 bytes",
    );
    check(
        base.clone().raw(&[6, 0, 0, 0, 0xfc, 255, 255, 127, 0, 0, 0, 0]),
        at,
        "a length of 2147483644 bytes",
    );
    let ends = [
        5, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0,
    ];
    check(
        base.clone().raw(&ends),
        at,
        "a block of 24 bytes whose end says 28",
    );
    check(base.clone().interface(1, 0, &[(9, &[6, 6])]), at, "an option");
    check(
        base.clone().block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 200, 0]),
        at,
        "an option that runs past",
    );
    let mut lie = [0; 24];
    lie[12] = 9;
    check(
        base.clone().block(6, &lie),
        at,
        "9 bytes of content in a block with room for 4",
    );
    check(
        base.clone().block(10, &[0x58, 0x50, 0x4c, 0x52, 9, 0, 0, 0]),
        at,
        "9 bytes of content",
    );
    check(
        base.clone().raw(&[10, 13, 13, 10, 28, 0, 0, 0, 1, 2, 3, 4]),
        at,
        "byte-order magic 0x04030201",
    );
    let version = [0x4d, 0x3c, 0x2b, 0x1a, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    check(
        base.clone().block(0x0a0d_0d0a, &version),
        at,
        "pcapng version 2.0",
    );
}

#[test]
fn a_failing_disk_is_no_cut_file() {
    struct Failing(Vec<u8>);
    impl std::io::Read for Failing {
        fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::other("the disk is on fire"));
            }
            let len = self.0.len().min(space.len());
            space[..len].copy_from_slice(&self.0[..len]);
            self.0.drain(..len);
            Ok(len)
        }
    }
    let mut file = small_pcap(false, PcapFile::MICROS).bytes();
    file.truncate(50);
    let mut reader = CaptureReader::open(Box::new(Failing(file)), ReadLimits::default()).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().records.len(), 1);
    let error = reader.next_batch().unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading failed behind packet 1, 50 bytes in: the disk is on fire"
    );
    assert!(reader.next_batch().unwrap().is_none());
    assert!(CaptureReader::open(Box::new(Failing(Vec::new())), ReadLimits::default()).is_err());
}
