//! A message field by field, for a person; and what bytes of unknown origin may be.
//!
//! Where decoding stops at the first thing that is wrong, this goes on as far as lengths make sense: an item that is cut
//! off is shown as far as it goes, a field of the wrong size is shown and marked, and the reason stands beside it.

use std::ops::Range;

use bftap_model::{CaptureTime, escape_peer_text, keccak256};

use crate::dialect::{Dialect, dialects};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::extra::VANITY_LEN;
use crate::istanbul;
use crate::layout::{FieldLayout, ListLayout, Shape};
use crate::message::{CommitSeal, ConsensusMessage, SignatureCheck};
use crate::rlp_view::{Item, ItemKind};

/// What a run of bytes is in its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A message as it crosses the wire, behind its code.
    Message,
    /// A payload: what is gossiped.
    Payload,
}

/// One line of a dissection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// How deep it stands: its parent is the nearest line above with a smaller depth.
    pub depth: usize,
    /// Name in the client's source, or of what was derived.
    pub name: String,
    /// Bytes it comes from, length prefix included; empty for what is derived from all of them.
    pub place: Range<usize>,
    /// Value in words; text that a peer chose is escaped.
    pub value: String,
    /// How the line came to be.
    pub source: FieldSource,
}

/// How a line of a dissection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSource {
    /// It stands in the bytes.
    Bytes,
    /// It was computed: hashes, recovered signers, counts.
    Derived,
    /// Something is wrong here.
    Problem,
}

/// What bytes of unknown origin look like in one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resemblance {
    /// Message or payload.
    pub what: What,
    /// Local code that such a message has.
    pub local: u64,
    /// True when they decode; false when only the first fields fit.
    pub decodes: bool,
}

/// What bytes may be, the likeliest first: what decodes comes before what only looks alike.
pub fn detect(bytes: &[u8]) -> Vec<(&'static dyn Dialect, Resemblance)> {
    let mut found: Vec<_> = dialects()
        .iter()
        .filter_map(|&dialect| dialect.resemblance(bytes).map(|likeness| (dialect, likeness)))
        .collect();
    found.sort_by_key(|(_, likeness)| !likeness.decodes);
    found
}

/// Shows every field of a message or payload of a dialect: [`Dialect::dissect`].
pub fn dissect(dialect: &dyn Dialect, what: What, local: u64, bytes: &[u8]) -> Vec<Field> {
    dialect.dissect(what, local, bytes)
}

/// [`Dialect::dissect`] for dialects whose layout is data.
pub(crate) fn by_layout(
    dialect: &dyn Dialect,
    what: What,
    local: u64,
    bytes: &[u8],
    envelope: &FieldLayout,
    message: &FieldLayout,
) -> Vec<Field> {
    let layout = match what {
        What::Message => envelope,
        What::Payload => message,
    };
    let mut walker = Walker::default();
    walker.root(layout, bytes);
    let (payload, start) = match what {
        What::Payload => (Ok(bytes), 0),
        What::Message => match dialect.open(local, bytes) {
            Ok(envelope) => (Ok(envelope.payload), envelope.offset),
            Err(error) => (Err(error), 0),
        },
    };
    let decoded = payload.and_then(|payload| {
        walker.derived("payload hash", keccak256(payload));
        dialect
            .decode(local, payload, SignatureCheck::Recover)
            .map_err(|error| error.shifted(start))
    });
    match decoded {
        Ok(message) => walker.conclusions(&message, start),
        Err(error) => {
            let place = error.offset..error.offset;
            walker.push(0, "not decodable", place, describe(&error), FieldSource::Problem);
        }
    }
    walker.fields
}

/// [`Dialect::resemblance`] for dialects whose layout is data.
pub(crate) fn resemblance(
    dialect: &dyn Dialect,
    local: u64,
    bytes: &[u8],
    envelope: &FieldLayout,
    message: &FieldLayout,
) -> Option<Resemblance> {
    let decodes = |payload| dialect.decode(local, payload, SignatureCheck::Claimed).is_ok();
    let found = |what, decodes| Some(Resemblance { what, local, decodes });
    if dialect
        .open(local, bytes)
        .is_ok_and(|envelope| decodes(envelope.payload))
    {
        return found(What::Message, true);
    }
    if decodes(bytes) {
        return found(What::Payload, true);
    }
    // Two leading fields of the payload are enough of a likeness: their sizes and ranges are narrow.
    if leading_fields(message, bytes) >= 2 {
        return found(What::Payload, false);
    }
    let inside = leading_fields(envelope, bytes);
    let around = if let Shape::List(list) = &envelope.shape {
        list.fields.len()
    } else {
        0
    };
    if inside >= around + 2 {
        found(What::Message, false)
    } else {
        None
    }
}

/// How many fields fit from the start, those inside a wrapped item included.
fn leading_fields(layout: &FieldLayout, bytes: &[u8]) -> usize {
    let Ok(outer) = Clipped::first(bytes, 0) else {
        return 0;
    };
    match &layout.shape {
        Shape::Wrapped(inner) if outer.kind == ItemKind::String => leading_fields(inner, outer.content),
        Shape::List(list) if outer.kind == ItemKind::List => {
            let mut rest = outer.content;
            let mut count = 0;
            for field in list.fields {
                let Ok(clipped) = Clipped::first(rest, 0) else {
                    break;
                };
                let whole = Item::first(rest, 0, field.name);
                match &field.shape {
                    Shape::Wrapped(inner) if clipped.kind == ItemKind::String => {
                        count += 1 + leading_fields(inner, clipped.content);
                    }
                    _ if whole.is_ok_and(|item| field.check(&item).is_ok()) => count += 1,
                    _ => break,
                }
                rest = &rest[clipped.len..];
            }
            count
        }
        _ => 0,
    }
}

/// An item whose end may be missing.
struct Clipped<'a> {
    kind: ItemKind,
    /// As much of its content as is there.
    content: &'a [u8],
    content_offset: usize,
    /// As many of its bytes as are there, prefix included.
    len: usize,
    /// Bytes it declares, prefix included, if not all of them are there.
    needed: Option<u64>,
}

impl<'a> Clipped<'a> {
    fn first(input: &'a [u8], offset: usize) -> Result<Self, DecodeErrorKind> {
        let head = crate::rlp_view::Head::read(input)?;
        let needed = (head.prefix as u64).saturating_add(head.len);
        let len = usize::try_from(needed).unwrap_or(usize::MAX).min(input.len());
        Ok(Self {
            kind: head.kind,
            content: &input[head.prefix..len],
            content_offset: offset + head.prefix,
            len,
            needed: (needed > len as u64).then_some(needed),
        })
    }
}

#[derive(Default)]
struct Walker {
    fields: Vec<Field>,
    /// The code met last: tells what the body is.
    code: Option<usize>,
}

impl Walker {
    fn root(&mut self, layout: &FieldLayout, bytes: &[u8]) {
        let read = self
            .item(layout, short_name(layout), bytes, 0, 0)
            .unwrap_or(bytes.len());
        if read < bytes.len() {
            let value = format!("behind the end: {}", hex(&bytes[read..]));
            self.push(
                0,
                "trailing bytes",
                read..bytes.len(),
                value,
                FieldSource::Problem,
            );
        }
    }

    /// Shows the item at the start of `input`; gives its length, or `None` when nothing behind it can be told.
    fn item(
        &mut self,
        layout: &FieldLayout,
        name: &str,
        input: &[u8],
        offset: usize,
        depth: usize,
    ) -> Option<usize> {
        let item = match Clipped::first(input, offset) {
            Ok(item) => item,
            Err(kind) => {
                self.problem(depth, name, offset..offset + input.len(), &kind);
                return None;
            }
        };
        let place = offset..offset + item.len;
        if let Some(needed) = item.needed {
            let children = depth + 1;
            let value = format!("{}, {} of {needed} bytes are there", item.kind, item.len);
            self.push(depth, name, place.clone(), value, FieldSource::Bytes);
            let kind = DecodeErrorKind::Truncated {
                needed,
                available: item.len,
            };
            let before = self.fields.len();
            self.children(layout, &item, children);
            // The innermost item that is cut says where; those around it are cut for the same reason.
            if self.fields[before..]
                .iter()
                .all(|field| field.source != FieldSource::Problem)
            {
                self.problem(children, "cut off", place, &kind);
            }
            return None;
        }
        let whole = Item::first(input, offset, layout.name);
        let checked = whole.and_then(|whole| layout.check(&whole).map(|()| whole));
        match checked {
            Ok(whole) => {
                let value = value(layout, &whole);
                self.push(depth, name, place, value, FieldSource::Bytes);
                if matches!(layout.shape, Shape::Code) {
                    self.code = istanbul::kind(&whole).ok().map(crate::Kind::index);
                }
                self.children(layout, &item, depth + 1);
            }
            Err(error) => {
                self.push(depth, name, place.clone(), summary(&item), FieldSource::Bytes);
                self.problem(depth + 1, "wrong", place, &error.kind);
            }
        }
        Some(item.len)
    }

    fn children(&mut self, layout: &FieldLayout, item: &Clipped<'_>, depth: usize) {
        match (&layout.shape, item.kind) {
            (Shape::List(list), ItemKind::List) => self.list(list, item, depth),
            (Shape::Each(each), ItemKind::List) => self.each(each, item, depth),
            (Shape::Wrapped(inner), ItemKind::String) => self.wrapped(inner, item, depth),
            (Shape::WrappedByCode(bodies), ItemKind::String) => {
                if let Some(body) = self.code.and_then(|code| bodies.get(code)) {
                    self.wrapped(body, item, depth);
                }
            }
            (Shape::Extra, ItemKind::String) => self.extra(item, depth),
            _ => {}
        }
    }

    fn list(&mut self, layout: &ListLayout, item: &Clipped<'_>, depth: usize) {
        let mut at = 0;
        let mut count = 0;
        while at < item.content.len() && count < MAX_ITEMS {
            let offset = item.content_offset + at;
            let read = match layout.fields.get(count) {
                Some(field) => self.item(field, short_name(field), &item.content[at..], offset, depth),
                None => {
                    let name = format!("item {count}, unknown");
                    self.item(&UNKNOWN, &name, &item.content[at..], offset, depth)
                }
            };
            let Some(read) = read else {
                return;
            };
            at += read;
            count += 1;
        }
        let more = self.rest(item, at, depth);
        let found = count.saturating_add(more);
        if item.needed.is_none() && (found < layout.required || (found > layout.fields.len() && !layout.open))
        {
            let kind = DecodeErrorKind::WrongItemCount {
                expected: layout.required,
                found,
            };
            let end = item.content_offset + item.content.len();
            self.problem(depth, "items", end..end, &kind);
        }
    }

    fn each(&mut self, layout: &FieldLayout, item: &Clipped<'_>, depth: usize) {
        let mut at = 0;
        let mut count = 0;
        while at < item.content.len() && count < MAX_ITEMS {
            let name = format!("{} {count}", short_name(layout));
            let offset = item.content_offset + at;
            let Some(read) = self.item(layout, &name, &item.content[at..], offset, depth) else {
                return;
            };
            at += read;
            count += 1;
        }
        self.rest(item, at, depth);
    }

    /// Counts the items that are too many to show, and says so.
    fn rest(&mut self, item: &Clipped<'_>, at: usize, depth: usize) -> usize {
        let end = item.content_offset + item.content.len();
        let mut rest = &item.content[at..];
        let mut more = 0;
        while !rest.is_empty() {
            let Ok(next) = Clipped::first(rest, 0) else {
                break;
            };
            more += 1;
            rest = &rest[next.len..];
        }
        if more > 0 {
            let place = item.content_offset + at..end;
            self.push(
                depth,
                "more",
                place,
                format!("{more} more items"),
                FieldSource::Bytes,
            );
        }
        more
    }

    fn wrapped(&mut self, layout: &FieldLayout, item: &Clipped<'_>, depth: usize) {
        let read = self.item(
            layout,
            short_name(layout),
            item.content,
            item.content_offset,
            depth,
        );
        if let Some(read) = read.filter(|&read| read < item.content.len()) {
            let place = item.content_offset + read..item.content_offset + item.content.len();
            self.problem(
                depth,
                "wrong",
                place.clone(),
                &DecodeErrorKind::TrailingBytes { count: place.len() },
            );
        }
    }

    fn extra(&mut self, item: &Clipped<'_>, depth: usize) {
        let cut = item.content.len().min(VANITY_LEN);
        let (vanity, fields) = item.content.split_at(cut);
        let place = item.content_offset..item.content_offset + cut;
        let end = vanity
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let text = format!("{} \"{}\"", hex(vanity), escape_peer_text(&vanity[..end]));
        self.push(depth, "vanity", place.clone(), text, FieldSource::Bytes);
        if cut < VANITY_LEN {
            let kind = DecodeErrorKind::BadLength {
                expected: VANITY_LEN,
                found: cut,
            };
            self.problem(depth, "wrong", place, &kind);
            return;
        }
        let fields = Clipped {
            kind: ItemKind::String,
            content: fields,
            content_offset: item.content_offset + cut,
            len: fields.len(),
            needed: None,
        };
        self.wrapped(&EXTRA, &fields, depth);
    }

    /// What follows from a decoded message whose payload starts at `start`.
    fn conclusions(&mut self, message: &ConsensusMessage, start: usize) {
        match message.signer {
            Some(signer) => self.derived("signer", signer),
            None => self.derived("signer", "cannot be recovered from the signature"),
        }
        self.derived("validity", message.validity.as_str());
        match message.commit_seal {
            Some(CommitSeal::Recovered { signer, .. }) => {
                self.derived("commit seal signer", signer);
                if let Some(author) = message.author().filter(|author| *author != signer) {
                    self.wrong_seal(format!(
                        "it recovers to {signer}, not to {author} who made the message"
                    ));
                }
            }
            Some(CommitSeal::Unrecoverable { .. }) => {
                self.wrong_seal("nobody's key can be recovered from it".to_owned());
            }
            Some(CommitSeal::WrongLength { len }) => {
                self.wrong_seal(format!("it has {len} bytes where 65 belong"));
            }
            Some(CommitSeal::NotChecked { .. }) => self.derived("commit seal signer", "not checked"),
            None => {}
        }
        let Some(proposal) = &message.proposal else {
            return;
        };
        self.derived("block hash", proposal.hash);
        match proposal.proposer {
            Some(proposer) => self.derived("proposer", proposer),
            None => self.derived("proposer", "cannot be recovered from the seal"),
        }
        self.derived("transactions", proposal.transactions);
        self.derived("block size", format!("{} bytes", proposal.size));
        self.derived("validators", proposal.validators.len());
        self.derived("committed seals", proposal.committed_seals);
        if let Some(round) = proposal.round_in_header {
            self.derived("round in header", round);
        }
        if let Some(error) = &proposal.extra_error {
            let error = error.clone().shifted(start);
            let place = error.offset..error.offset;
            self.push(0, "extra data", place, describe(&error), FieldSource::Problem);
        }
    }

    fn wrong_seal(&mut self, why: String) {
        self.push(0, "commit seal is wrong", 0..0, why, FieldSource::Problem);
    }

    fn derived(&mut self, name: &str, value: impl ToString) {
        self.push(0, name, 0..0, value.to_string(), FieldSource::Derived);
    }

    fn problem(&mut self, depth: usize, name: &str, place: Range<usize>, kind: &DecodeErrorKind) {
        let value = format!("at byte {}: {kind}", place.start);
        self.push(depth, name, place, value, FieldSource::Problem);
    }

    fn push(&mut self, depth: usize, name: &str, place: Range<usize>, value: String, source: FieldSource) {
        self.fields.push(Field {
            depth,
            name: name.to_owned(),
            place,
            value,
            source,
        });
    }
}

/// The value of an item that fits its layout.
fn value(layout: &FieldLayout, item: &Item<'_>) -> String {
    match &layout.shape {
        Shape::Uint(limit) => item
            .uint(*limit, layout.name)
            .map_or_else(|_| hex(item.content()), |n| n.to_string()),
        Shape::Time => {
            let seconds = item.uint(istanbul::MAX_NUMBER, layout.name).unwrap_or(u64::MAX);
            let nanos = i64::try_from(seconds)
                .ok()
                .and_then(|seconds| seconds.checked_mul(1_000_000_000));
            match nanos {
                Some(nanos) => format!("{seconds} ({})", CaptureTime::from_nanos(nanos)),
                None => seconds.to_string(),
            }
        }
        Shape::BigUint => item
            .uint(u64::MAX, layout.name)
            .map_or_else(|_| hex(item.content()), |n| n.to_string()),
        Shape::Code => istanbul::kind(item).map_or_else(
            |error| error.kind.to_string(),
            |kind| format!("{} ({kind})", istanbul::code(kind)),
        ),
        Shape::Fixed(_) | Shape::Bytes | Shape::Signature => hex(item.content()),
        Shape::List(_)
        | Shape::Each(_)
        | Shape::Any
        | Shape::Extra
        | Shape::Wrapped(_)
        | Shape::WrappedByCode(_) => describe_size(item.kind(), item.content().len()),
    }
}

/// What can be said of an item whatever it should be.
fn summary(item: &Clipped<'_>) -> String {
    match item.kind {
        ItemKind::List => describe_size(item.kind, item.content.len()),
        ItemKind::String => hex(item.content),
    }
}

fn describe_size(kind: ItemKind, len: usize) -> String {
    match len {
        0 => format!("empty {kind}"),
        1 => format!("{kind} of 1 byte"),
        _ => format!("{kind} of {len} bytes"),
    }
}

/// Place and reason of an error in one line.
fn describe(error: &DecodeError) -> String {
    format!("{error}: {}", error.kind)
}

/// Hex of at most [`MAX_HEX`] bytes; runs of zeros, as of an empty filter, in words.
fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    if bytes.len() > 32 && bytes.iter().all(|&byte| byte == 0) {
        return format!("{} zero bytes", bytes.len());
    }
    let shown = &bytes[..bytes.len().min(MAX_HEX)];
    let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if shown.len() < bytes.len() {
        format!("0x{digits}… ({} bytes)", bytes.len())
    } else {
        format!("0x{digits}")
    }
}

/// The part of a layout's name behind the last dot.
fn short_name(layout: &FieldLayout) -> &'static str {
    layout.name.rsplit('.').next().unwrap_or(layout.name)
}

static UNKNOWN: FieldLayout = FieldLayout::new("unknown", Shape::Any);

/// The RLP part of extra data.
static EXTRA: FieldLayout = FieldLayout::new(
    "IstanbulExtra",
    Shape::List(&ListLayout {
        fields: &[
            FieldLayout::new(
                "Validators",
                Shape::Each(&FieldLayout::new("validator", Shape::Fixed(20))),
            ),
            FieldLayout::new("Seal", Shape::Signature),
            FieldLayout::new(
                "CommittedSeal",
                Shape::Each(&FieldLayout::new("seal", Shape::Signature)),
            ),
        ],
        required: 3,
        open: false,
    }),
);

/// Most bytes shown of one value: a BLS signature still fits.
const MAX_HEX: usize = 96;

/// Most items shown of one list; the rest are counted.
const MAX_ITEMS: usize = 256;
