//! Frames on a socket: messages in, messages out (WIRE-FORMATS 2.5, 3).

use std::io;

use bftap_decrypt::keystream::{BLOCK_LEN, Keystream};
use bftap_decrypt::mac::{FrameMac, MAC_LEN};
use bftap_decrypt::snappy::{SnappyError, SnappyReader};
use bftap_ibft_decode::rlp_view::Item;
use bftap_model::Direction;
use bftap_simnet::client::Writes;
use bftap_simnet::rlpx::frame::{FrameWriter, TooLarge, compress};
use bftap_simnet::rlpx::handshake::SessionSecrets;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Why nothing more can be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a header's MAC is wrong")]
    HeaderMac,
    #[error("a frame's MAC is wrong")]
    BodyMac,
    #[error("a frame of {size} bytes, more than the {MAX_FRAME} that are taken")]
    TooLong { size: usize },
    #[error("a frame without a message code")]
    Code,
    #[error("a message that does not decompress: {0}")]
    Snappy(#[from] SnappyError),
    #[error("a message of {} bytes does not fit into a frame", .0.size)]
    TooLarge(#[from] TooLarge),
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) code: u64,
    /// Behind the code, decompressed.
    pub(crate) payload: Vec<u8>,
    /// The frame's bytes on the wire.
    pub(crate) bytes: usize,
}

/// Reads one direction.
pub(crate) struct FrameReader<R = BufReader<OwnedReadHalf>> {
    stream: R,
    keystream: Keystream,
    mac: FrameMac,
    snappy: SnappyReader,
    pub(crate) compressed: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, secrets: &SessionSecrets, direction: Direction) -> Self {
        Self {
            stream,
            keystream: Keystream::new(secrets.aes()),
            mac: secrets.frame_mac(direction),
            snappy: SnappyReader::default(),
            compressed: false,
        }
    }

    /// The next message; `None` at the end of the stream between two frames. Not to be dropped halfway and called again.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Option<Incoming>, FrameError> {
        let mut head = [0; BLOCK_LEN + MAC_LEN];
        let first = self.stream.read(&mut head).await?;
        if first == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut head[first..]).await?;
        let (header, mac) = head.split_at(BLOCK_LEN);
        let mut header: [u8; BLOCK_LEN] = header.try_into().unwrap_or_default();
        if self.mac.header(&header) != *mac {
            return Err(FrameError::HeaderMac);
        }
        self.keystream.apply(&mut header);
        let size = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if size > limit.min(MAX_FRAME) {
            return Err(FrameError::TooLong { size });
        }
        let padded = size.next_multiple_of(BLOCK_LEN);
        let mut body = vec![0; padded + MAC_LEN];
        self.stream.read_exact(&mut body).await?;
        if self.mac.body(&body[..padded]) != body[padded..] {
            return Err(FrameError::BodyMac);
        }
        body.truncate(padded);
        self.keystream.apply(&mut body);
        body.truncate(size);
        let code = Item::first(&body, 0, "code").map_err(|_| FrameError::Code)?;
        let behind = code.raw().len();
        let code = code.uint(u64::MAX, "code").map_err(|_| FrameError::Code)?;
        let payload = if self.compressed {
            let len = self.snappy.decompress(&body[behind..])?;
            self.snappy.output(len).to_vec()
        } else {
            body.split_off(behind)
        };
        Ok(Some(Incoming {
            code,
            payload,
            bytes: BLOCK_LEN + MAC_LEN + padded + MAC_LEN,
        }))
    }
}

/// Writes one direction.
pub(crate) struct FrameSink {
    pub(crate) stream: OwnedWriteHalf,
    writer: FrameWriter,
    writes: Writes,
    frame: Vec<u8>,
    pub(crate) compressed: bool,
}

impl FrameSink {
    pub(crate) fn new(
        stream: OwnedWriteHalf,
        secrets: &SessionSecrets,
        direction: Direction,
        writes: Writes,
    ) -> Self {
        Self {
            stream,
            writer: secrets.writer(direction),
            writes,
            frame: Vec::new(),
            compressed: false,
        }
    }

    /// Sends a message, compressed if the session is.
    pub(crate) async fn send(&mut self, code: u64, payload: &[u8]) -> Result<usize, FrameError> {
        if self.compressed {
            self.send_as_is(code, &compress(payload)?).await
        } else {
            self.send_as_is(code, payload).await
        }
    }

    /// Sends a message whose payload is compressed already; gives the frame's bytes.
    pub(crate) async fn send_as_is(&mut self, code: u64, payload: &[u8]) -> Result<usize, FrameError> {
        self.frame.clear();
        let parts = self.writer.seal(code, payload, &mut self.frame)?;
        match self.writes {
            Writes::Whole => self.stream.write_all(&self.frame).await?,
            Writes::Pieces => {
                for part in [parts.header, parts.code, parts.payload, parts.padding, parts.mac] {
                    self.stream.write_all(&self.frame[part]).await?;
                }
            }
        }
        Ok(self.frame.len())
    }
}

/// Largest content of a frame that is read: Klaytn's `ProtocolMaxMsgSize` from v1.10 on.
pub(crate) const MAX_FRAME: usize = 12 << 20;
