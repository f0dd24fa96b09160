//! Capture files of all kinds that are read.

mod damage;

use std::io::Write;

use bftap_capture::fuzzing::{Content, read_all};
use bftap_capture::link::LinkType;
use bftap_capture::packet::RLPX_SECRETS;
use bftap_capture::source::{CaptureError, CaptureReader, ReadLimits};
use bftap_model::{CaptureTime, TapId};
use bftap_testkit::capture_file::{PcapFile, PcapNgFile};

const SECOND: i64 = 1_000_000_000;

/// Reads a file in one piece, and makes sure that small pieces give the same.
fn read(file: &[u8]) -> Content {
    let content = read_all(file, usize::MAX, 1 << 20, 1 << 20);
    for (step, block) in [(1, 16), (5, 64), (1000, 100), (usize::MAX, 33)] {
        assert_eq!(
            read_all(file, step, block, 1 << 20),
            content,
            "steps of {step}, blocks of {block}"
        );
    }
    content
}

fn open(file: &[u8]) -> Result<CaptureReader, CaptureError> {
    CaptureReader::open(
        Box::new(std::io::Cursor::new(file.to_vec())),
        ReadLimits::default(),
    )
}

fn nanos(content: &Content) -> Vec<i64> {
    content.packets.iter().map(|packet| packet.0.nanos()).collect()
}

fn bytes(content: &Content) -> Vec<&[u8]> {
    content.packets.iter().map(|packet| &packet.3[..]).collect()
}

fn small_pcap(big_endian: bool, magic: u32) -> PcapFile {
    let mut file = PcapFile::new(big_endian, magic, 1);
    file.packet(1_700_000_000, 999_999, b"one", 3)
        .packet(1_700_000_001, 0, b"", 0);
    file.packet(1_700_000_001, 5, &[7; 300], 1500);
    file
}

fn small_pcapng() -> Vec<u8> {
    let mut file = PcapNgFile::new(false);
    file.interface(1, 0, &[(2, b"eth0"), (9, &[9])])
        .enhanced(0, 17, b"one", 3);
    file.secrets(RLPX_SECRETS, b"RLPX-AES 00")
        .block(0xbad, b"?")
        .enhanced(0, 18, b"two", 90);
    file.section(true);
    file.interface(113, 4, &[(9, &[6])])
        .simple(b"four", 9)
        .obsolete(0, 19, b"three", 5);
    file.bytes()
}

#[test]
fn pcap_in_both_byte_orders_and_both_resolutions() {
    for big_endian in [false, true] {
        for (magic, fraction) in [(PcapFile::MICROS, 1000), (PcapFile::NANOS, 1)] {
            let content = read(&small_pcap(big_endian, magic).bytes());
            assert_eq!(content.problem, None);
            assert_eq!(
                nanos(&content),
                [
                    1_700_000_000 * SECOND + 999_999 * fraction,
                    1_700_000_001 * SECOND,
                    1_700_000_001 * SECOND + 5 * fraction
                ]
            );
            assert_eq!(bytes(&content), [&b"one"[..], b"", &[7; 300]]);
            assert_eq!(content.packets[2].4, 1500, "length on the wire");
            assert_eq!((content.stats.packets, content.stats.bytes), (3, 303));
        }
    }
}

#[test]
fn pcap_without_packets() {
    let content = read(&PcapFile::new(false, PcapFile::MICROS, 1).bytes());
    assert_eq!(content, Content::default());
}

#[test]
fn pcap_times_to_the_end_of_the_field() {
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    file.packet(u32::MAX, u32::MAX, b"x", 1);
    assert_eq!(
        nanos(&read(&file.bytes())),
        [i64::from(u32::MAX) * (SECOND + 1000)]
    );
}

#[test]
fn pcap_link_type_without_its_upper_bits() {
    let mut file = PcapFile::new(true, PcapFile::MICROS, 0x4400_0000 | 276);
    file.packet(0, 0, b"x", 1);
    assert_eq!(read(&file.bytes()).packets[0].2, LinkType::LINUX_SLL2);
}

#[test]
fn pcap_with_longer_packet_headers() {
    let mut file = PcapFile::new(false, 0xa1b2_cd34, 1);
    // Interface, protocol, packet type and padding stand between header and content.
    for content in [&b"one"[..], b"three"] {
        let len = content.len() as u32;
        for word in [9, 0, len, len] {
            file.raw(&u32::to_le_bytes(word));
        }
        file.raw(&[2, 0, 0, 0, 8, 0, 1, 0]).raw(content);
    }
    let content = read(&file.bytes());
    assert_eq!(
        (bytes(&content), content.problem.as_deref()),
        (vec![&b"one"[..], b"three"], None)
    );
}

#[test]
fn pcap_of_another_version_is_refused() {
    let mut file = small_pcap(false, PcapFile::MICROS).bytes();
    file[4] = 3;
    let error = open(&file).unwrap_err().to_string();
    assert!(error.contains("pcap of version 3.4"), "{error}");
}

#[test]
fn pcapng_with_all_packet_blocks_sections_and_interfaces() {
    let file = small_pcapng();
    let content = read(&file);
    assert_eq!(content.problem, None);
    assert_eq!(bytes(&content), [&b"one"[..], b"two", b"four", b"three"]);
    // A simple packet has no time: it gets that of the packet before it.
    assert_eq!(nanos(&content), [17, 18, 18, 19_000]);
    let taps: Vec<u16> = content.packets.iter().map(|packet| packet.1.0).collect();
    assert_eq!(taps, [0, 0, 1, 1], "interfaces of the second section are others");
    assert_eq!(content.packets[2].2, LinkType::LINUX_SLL);
    assert_eq!(
        content.packets.iter().map(|packet| packet.4).collect::<Vec<_>>(),
        [3, 90, 9, 5]
    );
    assert_eq!(content.secrets, [(1, b"RLPX-AES 00".to_vec())]);
    assert_eq!((content.stats.secrets, content.stats.skipped_blocks), (1, 1));
}

#[test]
fn pcapng_interfaces_are_described() {
    let mut file = PcapNgFile::new(true);
    let (drops, os_drops) = (file.u64(3), file.u64(4));
    file.interface(1, 0, &[(2, b"eth\x1b0")]).interface(101, 0, &[]);
    file.enhanced(1, 0, b"x", 1)
        .statistics(0, &[(5, &drops), (7, &os_drops)]);
    let mut reader = open(&file.bytes()).unwrap();
    while reader.next_batch().unwrap().is_some() {}
    let [first, second] = reader.interfaces() else {
        panic!("two interfaces")
    };
    assert_eq!(
        (first.name.as_deref(), first.dropped),
        (Some("eth\\u{1b}0"), Some(7))
    );
    assert_eq!(
        (second.link, second.name.as_deref(), second.dropped),
        (LinkType::RAW, None, None)
    );
}

#[test]
fn pcapng_clocks() {
    let cases: &[(&[u8], i64, u64, i64)] = &[
        (&[], 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
        (&[6], 0, 1, 1000),
        (&[9], 0, u64::from(u32::MAX) + 1, 1 << 32),
        (&[3], 0, 1, 1_000_000),
        (&[12], 0, 1_999, 1),
        (&[0x80 | 10], 0, 1536, 1_500_000_000),
        (&[0x80 | 32], 1, 1 << 31, 1_500_000_000),
        (&[6], 1_600_000_000, 1, 1_600_000_000_000_001_000),
        (&[6], -1, 1, -999_999_000),
    ];
    for &(resolution, offset, ticks, want) in cases {
        for big_endian in [false, true] {
            let mut file = PcapNgFile::new(big_endian);
            let offset = file.u64(offset.cast_unsigned());
            let options: &[(u16, &[u8])] = &[(9, resolution), (14, &offset)];
            file.interface(1, 0, &options[usize::from(resolution.is_empty())..])
                .enhanced(0, ticks, b"x", 1);
            assert_eq!(
                nanos(&read(&file.bytes())),
                [want],
                "resolution {resolution:?}, {ticks} ticks"
            );
        }
    }
}

#[test]
fn pcapng_simple_packets_are_as_long_as_the_snap_length_says() {
    let mut file = PcapNgFile::new(false);
    file.interface(1, 5, &[]).simple(b"12345", 90).simple(b"123", 3);
    assert_eq!(bytes(&read(&file.bytes())), [&b"12345"[..], b"123"]);
}

#[test]
fn pcapng_secrets_stand_where_they_are_in_the_file() {
    let mut file = PcapNgFile::new(true);
    file.secrets(RLPX_SECRETS, b"first")
        .interface(1, 0, &[])
        .enhanced(0, 0, b"x", 1);
    // Another program's secrets are no business of ours.
    file.secrets(RLPX_SECRETS, b"second")
        .secrets(0x544c_534b, b"CLIENT_RANDOM")
        .enhanced(0, 0, b"y", 1);
    file.secrets(RLPX_SECRETS, b"third");
    let content = read(&file.bytes());
    assert_eq!(
        content.secrets,
        [
            (0, b"first".to_vec()),
            (1, b"second".to_vec()),
            (2, b"third".to_vec())
        ]
    );
    assert_eq!((content.stats.secrets, content.stats.skipped_blocks), (3, 1));
}

#[test]
fn secrets_do_not_stay_in_the_blocks_and_are_not_shown() {
    let mut file = PcapNgFile::new(false);
    file.interface(1, 0, &[])
        .enhanced(0, 0, b"x", 1)
        .secrets(RLPX_SECRETS, b"hush-hush");
    let batch = open(&file.bytes()).unwrap().next_batch().unwrap().unwrap();
    assert_eq!(&batch.secrets[0].lines[..], b"hush-hush");
    assert!(!batch.blocks[0].windows(9).any(|window| window == b"hush-hush"));
    assert_eq!(
        format!("{:?}", batch.secrets),
        "[SecretsBlock { before: 1, len: 9 }]"
    );
}

#[test]
fn blocks_of_no_interest_may_be_of_any_length() {
    for len in [0, 5, 70_000, (1 << 20) - 12, (1 << 20) - 8, 3 << 20] {
        let mut file = PcapNgFile::new(false);
        file.interface(1, 0, &[])
            .enhanced(0, 1, b"x", 1)
            .block(0x8000_0001, &vec![7; len]);
        file.enhanced(0, 2, b"y", 1);
        let content = read_all(&file.bytes(), 1 << 12, 1 << 14, 1 << 20);
        assert_eq!(
            (bytes(&content), content.problem.as_deref()),
            (vec![&b"x"[..], b"y"], None),
            "{len} bytes"
        );
        assert_eq!(content.stats.skipped_blocks, 1);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_files_also_in_several_pieces() {
    for plain in [small_pcap(false, PcapFile::MICROS).bytes(), small_pcapng()] {
        let want = read(&plain);
        let (first, second) = plain.split_at(plain.len() / 2);
        let skippable = [
            &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3],
            &zstd_of(&plain)[..],
        ]
        .concat();
        for packed in [
            gzip(&plain),
            [gzip(first), gzip(second)].concat(),
            zstd_of(&plain),
            [zstd_of(first), zstd_of(second)].concat(),
            skippable,
        ] {
            assert_eq!(read(&packed), want);
        }
    }
}

#[test]
fn packets_longer_than_a_block() {
    for len in [100_usize, 5000, 1 << 20] {
        let mut pcap = PcapFile::new(false, PcapFile::MICROS, 1);
        let long: Vec<u8> = (0..len).map(|index| index as u8).collect();
        pcap.packet(1, 0, b"x", 1)
            .packet(2, 0, &long, len as u32)
            .packet(3, 0, b"y", 1);
        let mut pcapng = PcapNgFile::new(true);
        pcapng
            .interface(1, 0, &[])
            .enhanced(0, 1, b"x", 1)
            .enhanced(0, 2, &long, 1)
            .enhanced(0, 3, b"y", 1);
        for file in [pcap.bytes(), pcapng.bytes()] {
            let content = read_all(&file, 1000, 256, 1 << 20);
            assert_eq!(
                (bytes(&content), content.problem.as_deref()),
                (vec![&b"x"[..], &long, b"y"], None)
            );
        }
    }
}

#[test]
fn files_that_are_no_captures() {
    assert!(matches!(open(b""), Err(CaptureError::Empty)));
    for (file, word) in [
        (
            b"\x7fELF\x02\x01\x01\0".to_vec(),
            "this looks like an ELF program",
        ),
        (b"{\"a\": 1}".to_vec(), "this looks like JSON"),
        (b"a".to_vec(), "this looks like text"),
        (b"snoop\0\0\0\0\0\0\x02\0\0\0\x04".to_vec(), "Solaris snoop"),
        (gzip(b"some notes\n"), "this looks like text, packed with gzip"),
        (gzip(&gzip(b"x")), "gzip inside of a compressed file"),
        (zstd_of(b"[1]"), "this looks like JSON, packed with zstd"),
        (gzip(b""), "the file is empty"),
    ] {
        let message = open(&file).unwrap_err().to_string();
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

#[test]
fn a_pipe_gives_what_is_in_it() {
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    file.packet(1, 0, b"first", 5);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&file.bytes()).unwrap();
    let mut reader = CaptureReader::open(Box::new(reader), ReadLimits::default()).unwrap();
    // The writer is still there: waiting for a full block would wait forever.
    let batch = reader.next_batch().unwrap().unwrap();
    assert_eq!(batch.bytes(&batch.records[0]), b"first");
    assert_eq!(batch.records[0].seen, CaptureTime::from_nanos(SECOND));
    assert_eq!(batch.records[0].tap, TapId(0));
    drop(writer);
    assert!(reader.next_batch().unwrap().is_none());
}
