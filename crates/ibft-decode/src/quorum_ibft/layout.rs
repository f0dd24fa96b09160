//! GoQuorum IBFT's layouts (WIRE-FORMATS 5.2) as data.

use crate::block::{BlockRules, Transactions};
use crate::istanbul::MAX_NUMBER;
use crate::layout::{FieldLayout, ListLayout, Shape};

/// The message on the wire.
pub(super) static ENVELOPE: FieldLayout = FieldLayout::new("wire payload", Shape::Wrapped(&MESSAGE));

/// The payload.
pub(super) static MESSAGE: FieldLayout = FieldLayout::new(
    "message",
    Shape::List(&ListLayout {
        fields: &[
            FieldLayout::new("message.Code", Shape::Code),
            FieldLayout::new(
                "message.Msg",
                Shape::WrappedByCode([&PREPREPARE, &SUBJECT, &SUBJECT, &SUBJECT]),
            ),
            FieldLayout::new("message.Address", Shape::Fixed(20)),
            FieldLayout::new("message.Signature", Shape::Signature),
            FieldLayout::new("message.CommittedSeal", Shape::Bytes),
        ],
        required: 5,
        open: false,
    }),
);

static SUBJECT: FieldLayout = FieldLayout::new(
    "Subject",
    Shape::List(&ListLayout {
        fields: &[
            crate::istanbul::VIEW,
            FieldLayout::new("Subject.Digest", Shape::Fixed(32)),
        ],
        required: 2,
        open: false,
    }),
);

static PREPREPARE: FieldLayout = FieldLayout::new(
    "Preprepare",
    Shape::List(&ListLayout {
        fields: &[
            crate::istanbul::VIEW,
            FieldLayout::new(
                "Block",
                Shape::List(&ListLayout {
                    fields: &[
                        FieldLayout::new("Header", Shape::List(&HEADER)),
                        FieldLayout::new(
                            "Block.Transactions",
                            Shape::Each(&FieldLayout::new("item", Shape::Any)),
                        ),
                        FieldLayout::new("Block.Uncles", Shape::Each(&FieldLayout::new("item", Shape::Any))),
                    ],
                    required: 3,
                    open: false,
                }),
            ),
        ],
        required: 2,
        open: false,
    }),
);

/// Rules of a block (5.2, 6.2).
pub(super) static BLOCK: BlockRules = BlockRules {
    parts: 3,
    header: &HEADER,
    parent: 0,
    number: 8,
    time: 11,
    time_fos: None,
    extra: 12,
    mark: Some((13, super::ISTANBUL_DIGEST)),
    round_in_vanity: false,
    transactions: Transactions::Items,
};

static HEADER: ListLayout = ListLayout {
    fields: &[
        FieldLayout::new("Header.ParentHash", Shape::Fixed(32)),
        FieldLayout::new("Header.UncleHash", Shape::Fixed(32)),
        FieldLayout::new("Header.Coinbase", Shape::Fixed(20)),
        FieldLayout::new("Header.Root", Shape::Fixed(32)),
        FieldLayout::new("Header.TxHash", Shape::Fixed(32)),
        FieldLayout::new("Header.ReceiptHash", Shape::Fixed(32)),
        FieldLayout::new("Header.Bloom", Shape::Fixed(crate::klaytn::BLOOM_LEN)),
        FieldLayout::new("Header.Difficulty", Shape::BigUint),
        FieldLayout::new("Header.Number", Shape::Uint(MAX_NUMBER)),
        FieldLayout::new("Header.GasLimit", Shape::Uint(u64::MAX)),
        FieldLayout::new("Header.GasUsed", Shape::Uint(u64::MAX)),
        FieldLayout::new("Header.Time", Shape::Time),
        FieldLayout::new("Header.Extra", Shape::Extra),
        FieldLayout::new("Header.MixDigest", Shape::Fixed(32)),
        FieldLayout::new("Header.Nonce", Shape::Fixed(8)),
    ],
    required: 15,
    open: true,
};
