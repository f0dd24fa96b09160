//! Capture files for tests, written field by field in either byte order.

/// Writes a pcap file.
#[derive(Clone, Debug)]
pub struct PcapFile {
    /// All fields of more than one byte, but for the packets' content.
    pub big_endian: bool,
    bytes: Vec<u8>,
}

impl PcapFile {
    /// Magic number of time stamps in microseconds.
    pub const MICROS: u32 = 0xa1b2_c3d4;
    /// Magic number of time stamps in nanoseconds.
    pub const NANOS: u32 = 0xa1b2_3c4d;

    /// A file header: magic number, and the field of the link type with its upper bits.
    pub fn new(big_endian: bool, magic: u32, link: u32) -> Self {
        let mut file = Self {
            big_endian,
            bytes: Vec::new(),
        };
        for word in [magic, 0, 0, 0, 262_144, link] {
            file.word(word);
        }
        let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        file.bytes[4..8].copy_from_slice(&version);
        file
    }

    /// Adds a packet: seconds, fraction in units of the magic number, bytes captured, length on the wire.
    pub fn packet(&mut self, seconds: u32, fraction: u32, bytes: &[u8], orig_len: u32) -> &mut Self {
        for word in [seconds, fraction, bytes.len() as u32, orig_len] {
            self.word(word);
        }
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The file so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(if self.big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        });
    }
}

/// Writes a pcapng file.
#[derive(Clone, Debug)]
pub struct PcapNgFile {
    big_endian: bool,
    bytes: Vec<u8>,
}

/// An option of a pcapng block: code and value.
pub type BlockOption<'a> = (u16, &'a [u8]);

impl PcapNgFile {
    /// A file with one section header.
    pub fn new(big_endian: bool) -> Self {
        let mut file = Self {
            big_endian,
            bytes: Vec::new(),
        };
        file.section(big_endian);
        file
    }

    /// Adds a section header; what follows has its byte order.
    pub fn section(&mut self, big_endian: bool) -> &mut Self {
        self.big_endian = big_endian;
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    /// Adds an interface description.
    pub fn interface(&mut self, link: u16, snap_len: u32, options: &[BlockOption<'_>]) -> &mut Self {
        let mut body = [self.u16(link), [0; 2]].concat();
        body.extend(self.u32(snap_len));
        body.extend(self.options(options));
        self.block(1, &body)
    }

    /// Adds an Enhanced Packet Block.
    pub fn enhanced(&mut self, interface: u32, ticks: u64, bytes: &[u8], orig_len: u32) -> &mut Self {
        let mut body = self.u32(interface).to_vec();
        body.extend(self.packet_fields(ticks, bytes, orig_len));
        // With an option, as writers add them: a comment.
        body.extend(self.options(&[(1, b"test")]));
        self.block(6, &body)
    }

    /// Adds a Simple Packet Block with the bytes that are captured.
    pub fn simple(&mut self, bytes: &[u8], orig_len: u32) -> &mut Self {
        let body = [&self.u32(orig_len), bytes].concat();
        self.block(3, &body)
    }

    /// Adds an obsolete Packet Block.
    pub fn obsolete(&mut self, interface: u16, ticks: u64, bytes: &[u8], orig_len: u32) -> &mut Self {
        let mut body = [self.u16(interface), self.u16(0)].concat();
        body.extend(self.packet_fields(ticks, bytes, orig_len));
        self.block(2, &body)
    }

    /// Adds a Decryption Secrets Block.
    pub fn secrets(&mut self, secrets_type: u32, content: &[u8]) -> &mut Self {
        let body = [&self.u32(secrets_type), &self.u32(content.len() as u32), content].concat();
        self.block(0x0a, &body)
    }

    /// Adds Interface Statistics with these options.
    pub fn statistics(&mut self, interface: u32, options: &[BlockOption<'_>]) -> &mut Self {
        let mut body = self.u32(interface).to_vec();
        body.extend([0; 8]);
        body.extend(self.options(options));
        self.block(5, &body)
    }

    /// Adds a block of any type; its body is padded.
    pub fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let len = (12 + body.len().next_multiple_of(4)) as u32;
        self.bytes.extend(self.u32(kind));
        self.bytes.extend(self.u32(len));
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(self.u32(len));
        self
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The file so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// A 64-bit number in the section's byte order, for options.
    pub fn u64(&self, value: u64) -> [u8; 8] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn packet_fields(&self, ticks: u64, bytes: &[u8], orig_len: u32) -> Vec<u8> {
        let mut fields = self.u32((ticks >> 32) as u32).to_vec();
        fields.extend(self.u32(ticks as u32));
        fields.extend(self.u32(bytes.len() as u32));
        fields.extend(self.u32(orig_len));
        fields.extend_from_slice(bytes);
        fields.resize(fields.len().next_multiple_of(4), 0);
        fields
    }

    fn options(&self, options: &[BlockOption<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(self.u16(*code));
            bytes.extend(self.u16(value.len() as u16));
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            bytes.extend([0; 4]);
        }
        bytes
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }
}
