//! Klaytn's layouts (WIRE-FORMATS 5.1) as data.

use crate::block::{BlockRules, Transactions};
use crate::istanbul::MAX_NUMBER;
use crate::layout::{FieldLayout, ListLayout, Shape};

/// The message on the wire.
pub(super) static ENVELOPE: FieldLayout = FieldLayout::new(
    "ConsensusMsg",
    Shape::List(&ListLayout {
        fields: &[
            FieldLayout::new("ConsensusMsg.PrevHash", Shape::Fixed(32)),
            FieldLayout::new("ConsensusMsg.Payload", Shape::Wrapped(&MESSAGE)),
        ],
        required: 2,
        open: false,
    }),
);

/// The payload.
pub(super) static MESSAGE: FieldLayout = FieldLayout::new(
    "message",
    Shape::List(&ListLayout {
        fields: &[
            FieldLayout::new("message.Hash", Shape::Fixed(32)),
            FieldLayout::new("message.Code", Shape::Code),
            FieldLayout::new(
                "message.Msg",
                Shape::WrappedByCode([&PREPREPARE, &SUBJECT, &SUBJECT, &SUBJECT]),
            ),
            FieldLayout::new("message.Address", Shape::Fixed(20)),
            FieldLayout::new("message.Signature", Shape::Signature),
            FieldLayout::new("message.CommittedSeal", Shape::Bytes),
        ],
        required: 6,
        open: false,
    }),
);

static SUBJECT: FieldLayout = FieldLayout::new(
    "Subject",
    Shape::List(&ListLayout {
        fields: &[
            crate::istanbul::VIEW,
            FieldLayout::new("Subject.Digest", Shape::Fixed(32)),
            FieldLayout::new("Subject.PrevHash", Shape::Fixed(32)),
        ],
        required: 3,
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
                    ],
                    required: 2,
                    open: false,
                }),
            ),
        ],
        required: 2,
        open: false,
    }),
);

/// Rules of a block (5.1.3, 5.1.4, 6.2).
pub(super) static BLOCK: BlockRules = BlockRules {
    parts: 2,
    header: &HEADER,
    parent: 0,
    number: 7,
    time: 9,
    time_fos: Some(10),
    extra: 11,
    mark: None,
    round_in_vanity: true,
    transactions: Transactions::Lists,
};

/// Fields of a header: 14, and up to 5 that forks appended (BaseFee Magma, RandomReveal and MixHash Randao, the rest
/// Kaia v2.2). The Randao fields may be empty where a later one is present.
static HEADER: ListLayout = ListLayout {
    fields: &[
        FieldLayout::new("Header.ParentHash", Shape::Fixed(32)),
        FieldLayout::new("Header.Rewardbase", Shape::Fixed(20)),
        FieldLayout::new("Header.Root", Shape::Fixed(32)),
        FieldLayout::new("Header.TxHash", Shape::Fixed(32)),
        FieldLayout::new("Header.ReceiptHash", Shape::Fixed(32)),
        FieldLayout::new("Header.Bloom", Shape::Fixed(super::BLOOM_LEN)),
        FieldLayout::new("Header.BlockScore", Shape::BigUint),
        FieldLayout::new("Header.Number", Shape::Uint(MAX_NUMBER)),
        FieldLayout::new("Header.GasUsed", Shape::Uint(u64::MAX)),
        FieldLayout::new("Header.Time", Shape::Time),
        FieldLayout::new("Header.TimeFoS", Shape::Uint(u8::MAX as u64)),
        FieldLayout::new("Header.Extra", Shape::Extra),
        FieldLayout::new("Header.Governance", Shape::Bytes),
        FieldLayout::new("Header.Vote", Shape::Bytes),
        FieldLayout::new("Header.BaseFee", Shape::BigUint),
        FieldLayout::new("Header.RandomReveal", Shape::Bytes),
        FieldLayout::new("Header.MixHash", Shape::Bytes),
        FieldLayout::new("Header.BlobGasUsed", Shape::Uint(u64::MAX)),
        FieldLayout::new("Header.ExcessBlobGas", Shape::Uint(u64::MAX)),
    ],
    required: 14,
    open: true,
};
