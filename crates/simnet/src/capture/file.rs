//! Capture files, written packet by packet.

use std::io::{self, Write};

use bftap_model::CaptureTime;

/// Format of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureFormat {
    /// pcap with microseconds.
    Pcap,
    /// pcap with nanoseconds.
    PcapNanos,
    /// pcapng with nanoseconds, an interface for each tap.
    #[default]
    Pcapng,
}

impl CaptureFormat {
    /// Usual ending of the file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pcap | Self::PcapNanos => "pcap",
            Self::Pcapng => "pcapng",
        }
    }
}

/// Where the session secrets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretsPlace {
    /// Into the key log alone.
    #[default]
    KeyLog,
    /// Into the key log and into Decryption Secrets Blocks of a pcapng capture.
    KeyLogAndCapture,
}

/// One capture file.
pub(crate) struct CaptureWriter<'a> {
    out: Box<dyn Write + 'a>,
    format: CaptureFormat,
    block: Vec<u8>,
    /// Bytes written so far.
    pub(crate) bytes: u64,
    /// Packets written so far.
    pub(crate) packets: u64,
}

impl<'a> CaptureWriter<'a> {
    /// Begins a file with an interface for each name; only pcapng can tell them apart.
    pub(crate) fn new(
        out: Box<dyn Write + 'a>,
        format: CaptureFormat,
        interfaces: &[String],
    ) -> io::Result<Self> {
        let mut writer = Self {
            out,
            format,
            block: Vec::new(),
            bytes: 0,
            packets: 0,
        };
        match format {
            CaptureFormat::Pcap | CaptureFormat::PcapNanos => {
                let magic: u32 = if format == CaptureFormat::Pcap {
                    0xa1b2_c3d4
                } else {
                    0xa1b2_3c4d
                };
                let mut header = magic.to_le_bytes().to_vec();
                header.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                header.extend_from_slice(&SNAP_LEN.to_le_bytes());
                header.extend_from_slice(&u32::from(ETHERNET).to_le_bytes());
                writer.put(&header)?;
            }
            CaptureFormat::Pcapng => {
                let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
                section.extend_from_slice(&[1, 0, 0, 0]);
                section.extend_from_slice(&u64::MAX.to_le_bytes());
                write_option(&mut section, OPTION_USER_APPLICATION, b"bftap simulate");
                write_option(&mut section, OPTION_END, &[]);
                writer.put_block(SECTION_HEADER, &section)?;
                for name in interfaces {
                    let mut interface = ETHERNET.to_le_bytes().to_vec();
                    interface.extend_from_slice(&[0, 0]);
                    interface.extend_from_slice(&SNAP_LEN.to_le_bytes());
                    write_option(&mut interface, OPTION_INTERFACE_NAME, name.as_bytes());
                    write_option(&mut interface, OPTION_TIME_RESOLUTION, &[9]);
                    write_option(&mut interface, OPTION_END, &[]);
                    writer.put_block(INTERFACE_DESCRIPTION, &interface)?;
                }
            }
        }
        Ok(writer)
    }

    /// Writes a packet seen at one of the file's interfaces.
    pub(crate) fn packet(&mut self, interface: u32, seen: CaptureTime, bytes: &[u8]) -> io::Result<()> {
        self.packets += 1;
        let len = (bytes.len() as u32).to_le_bytes();
        let nanos = seen.nanos().max(0).cast_unsigned();
        let mut head = std::mem::take(&mut self.block);
        head.clear();
        match self.format {
            CaptureFormat::Pcap | CaptureFormat::PcapNanos => {
                let unit = if self.format == CaptureFormat::Pcap {
                    1000
                } else {
                    1
                };
                head.extend_from_slice(&((nanos / 1_000_000_000) as u32).to_le_bytes());
                head.extend_from_slice(&((nanos % 1_000_000_000 / unit) as u32).to_le_bytes());
                head.extend_from_slice(&len);
                head.extend_from_slice(&len);
                head.extend_from_slice(bytes);
            }
            CaptureFormat::Pcapng => {
                head.extend_from_slice(&interface.to_le_bytes());
                head.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
                head.extend_from_slice(&(nanos as u32).to_le_bytes());
                head.extend_from_slice(&len);
                head.extend_from_slice(&len);
                head.extend_from_slice(bytes);
            }
        }
        let result = match self.format {
            CaptureFormat::Pcap | CaptureFormat::PcapNanos => self.put(&head),
            CaptureFormat::Pcapng => self.put_block(ENHANCED_PACKET, &head),
        };
        self.block = head;
        result
    }

    /// Writes lines of a key log; nothing in formats that have no place for them.
    pub(crate) fn secrets(&mut self, lines: &str) -> io::Result<()> {
        if self.format != CaptureFormat::Pcapng {
            return Ok(());
        }
        let mut block = SECRETS_TYPE.to_le_bytes().to_vec();
        block.extend_from_slice(&(lines.len() as u32).to_le_bytes());
        block.extend_from_slice(lines.as_bytes());
        let result = self.put_block(DECRYPTION_SECRETS, &block);
        zeroize::Zeroize::zeroize(&mut block);
        result
    }

    /// Ends the file.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn put_block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let padding = body.len().next_multiple_of(4) - body.len();
        let total = ((body.len() + padding + 12) as u32).to_le_bytes();
        self.put(&kind.to_le_bytes())?;
        self.put(&total)?;
        self.put(body)?;
        self.put(&[0; 3][..padding])?;
        self.put(&total)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

fn write_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Link type of Ethernet.
const ETHERNET: u16 = 1;
const SNAP_LEN: u32 = 262_144;
/// Secrets type of RLPx key logs (`RLPX`).
const SECRETS_TYPE: u32 = 0x524c_5058;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
const OPTION_END: u16 = 0;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;
