//! The tables as flat structs: integers with their unit in the name, short texts, nothing nested.
//!
//! Columns and their meanings are those of `docs/SCHEMA.md`. Times are nanoseconds since the Unix epoch, of the capture's
//! clock unless said otherwise. Numbers are at most `i64::MAX`: what was larger is stored as that.

mod any;
mod network;
mod story;
mod table;

pub(crate) use any::read as read_cells;
pub use any::{Cell, Column, Stored, TABLES, Table};
pub use network::{CensusRow, DialRow, PeerDisconnectRow, PeerRow, ScoreRow, TcpLinkRow};
pub use story::{DelayRow, NodeRoundRow, ParticipationRow, PhaseRow, VoteRow, WasteRow, WhatIfRow};
pub use table::{ColumnType, Holds};
pub(crate) use table::{Columns, Field, Selected, TableRow, Value, table_row};

table_row! {
    /// One analysis, or one monitoring.
    pub struct RunRow in "run" by [run_id] {
        /// Id; never used again, also after the run is gone.
        run_id: i64,
        /// Name, chosen with `--run` or made of the inputs.
        name: String,
        /// `running`, `complete` or `failed`; rows count in a `complete` run, and in a `running` one that is `live`.
        state: String,
        /// Why it failed.
        problem: Option<String>,
        /// What wrote it: `analyze` or `live`.
        source: String,
        /// Version of the program.
        program_version: String,
        /// Start of the run by the clock of the machine.
        started_ns: i64,
        /// End of the run by the clock of the machine.
        finished_ns: Option<i64>,
        /// Transactions committed with rows of this run.
        batches: i64,
        /// Earliest packet of a session.
        first_seen_ns: Option<i64>,
        /// Latest packet of a session.
        last_seen_ns: Option<i64>,
        /// Packets in the captures.
        packets: i64,
        /// Captured bytes in them.
        bytes: i64,
        /// Packets with a TCP segment.
        tcp_packets: i64,
        /// Rows in `session`.
        sessions: i64,
        /// Connections refused, or without payload.
        refused: i64,
        /// TCP connections that are something else.
        other_flows: i64,
        /// Whole frames.
        frames: i64,
        /// Consensus messages.
        consensus_messages: i64,
        /// Frames that should hold a message of a known kind and do not decode.
        undecodable: i64,
        /// Holes in streams.
        gaps: i64,
        /// Stream bytes missing, and bytes of frames cut by them.
        lost_bytes: i64,
        /// Bytes at the end that do not complete a frame.
        incomplete_bytes: i64,
        /// TCP packets with a wrong checksum.
        bad_checksums: i64,
        /// The part of the captures that was asked for, as JSON; null for everything.
        selection: Option<String>,
        /// Frames that gaps cut or swallowed; null before the run is complete, and where a version without it wrote it.
        frames_lost: Option<i64>,
        /// Bytes of key stream that were searched for sessions without a handshake; null as above.
        searched_bytes: Option<i64>,
        /// Whether its rows count while it is running: it is written as it is seen.
        live: bool,
        /// Thousandths of the capture's own speed at which it is played; null: as fast as possible, or from interfaces.
        pace_milli: Option<i64>,
        /// When its latest rows were written, by the clock of the machine; null unless `live`.
        written_ns: Option<i64>,
        /// Capture time of the newest packet in them; null unless `live`.
        seen_ns: Option<i64>,
        /// How long after its time that packet was written; null unless `live`.
        lag_ns: Option<i64>,
        /// Rows of the time before were thinned out: of them only the sums per minute are left.
        thinned_before_ns: Option<i64>,
    }
}

table_row! {
    /// A total with a name that is not fixed.
    pub struct CounterRow in "counter" by [run_id, list, name] {
        /// Run.
        run_id: i64,
        /// Which list: `skipped_packets`, `undecodable_reasons`, `limits_reached` or `thinned`.
        list: String,
        /// What was counted.
        name: String,
        /// How often.
        value: i64,
    }
}

table_row! {
    /// One input.
    pub struct CaptureRow in "capture" by [run_id, capture_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of inputs, from 0.
        capture_number: i64,
        /// Path as given, `-` for standard input.
        path: String,
        /// SHA-256 of the file's content, lower-case hex.
        sha256: String,
        /// Packets read from it.
        packets: i64,
        /// Captured bytes in those packets.
        bytes: i64,
        /// Why reading ended before the end of the file.
        problem: Option<String>,
        /// Packets that were lost while they were captured; null where nobody says, and in rows of schema 3.
        kernel_drops: Option<i64>,
        /// Packets that the interface lost; null as above.
        interface_drops: Option<i64>,
        /// How often the interface was not there; null for files, and as above.
        times_down: Option<i64>,
    }
}

table_row! {
    /// A chain that was seen.
    pub struct ChainRow in "chain" by [run_id, chain_id] {
        /// Run.
        run_id: i64,
        /// Id within the run, from 0 in order of first sight.
        chain_id: i64,
        /// Network id and genesis hash, `1000/0x...`, or `unknown`.
        chain: String,
    }
}

table_row! {
    /// One node.
    pub struct NodeRow in "node" by [run_id, node_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of nodes, from 0.
        node_number: i64,
        /// How it is shown in text: name, else address, else IP address.
        label: String,
        /// Name from the nodes file.
        name: Option<String>,
        /// Public key, `0x` and 128 hex digits.
        node_id: Option<String>,
        /// Address of that key, `0x` and 40 hex digits.
        address: Option<String>,
        /// Client name from Hello, control characters escaped.
        client: Option<String>,
        /// Role from the connection type: `cn`, `en`, `pn`, `bn`.
        role: Option<String>,
        /// How much of its traffic was seen: `full`, `partial`, `lossy`.
        coverage: String,
        /// Whether it signed messages or stands in a validator list.
        validator: bool,
    }
}

table_row! {
    /// An IP address of a node.
    pub struct NodeIpRow in "node_ip" by [run_id, ip, node_number] {
        /// Run.
        run_id: i64,
        /// IP address.
        ip: String,
        /// Node.
        node_number: i64,
    }
}

table_row! {
    /// One RLPx session.
    pub struct SessionRow in "session" by [run_id, session_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of sessions, from 0.
        session_number: i64,
        /// Chain, as Status tells it.
        chain_id: i64,
        /// The end that dialled, `ip:port`.
        initiator: String,
        /// The end that listened, `ip:port`.
        recipient: String,
        /// IP address of the end that dialled.
        initiator_ip: String,
        /// IP address of the end that listened.
        recipient_ip: String,
        /// `no_handshake`, `no_secret`, `decrypted`, `lost` or `failed`.
        state: String,
        /// `handshake` or `midstream`; null when never opened.
        attached: Option<String>,
        /// Worst MAC state of its frames: `verified`, `skipped`, `unverifiable`, `failed`; null when never opened.
        mac: Option<String>,
        /// Whole frames from the initiator.
        frames_from_initiator: i64,
        /// Whole frames from the recipient.
        frames_from_recipient: i64,
        /// Holes in its streams.
        gaps: i64,
        /// Stream bytes missing, and bytes of frames cut by them.
        lost_bytes: i64,
        /// Bytes at the end that do not complete a frame.
        incomplete_bytes: i64,
        /// Agreed capabilities, separated by a space: `istanbul/64 p2p/5`.
        capabilities: String,
        /// TCP payload from the initiator, bytes.
        bytes_from_initiator: i64,
        /// TCP payload from the recipient, bytes.
        bytes_from_recipient: i64,
        /// Client name of the initiator.
        initiator_client: Option<String>,
        /// Client name of the recipient.
        recipient_client: Option<String>,
        /// Public key of the initiator.
        initiator_node_id: Option<String>,
        /// Public key of the recipient.
        recipient_node_id: Option<String>,
        /// Why it is not `decrypted`, in words.
        detail: Option<String>,
        /// Earliest packet.
        first_seen_ns: i64,
        /// Latest packet.
        last_seen_ns: i64,
        /// Frames from the initiator that gaps cut or swallowed; null where a version without it wrote the row.
        frames_lost_from_initiator: Option<i64>,
        /// Frames from the recipient that gaps cut or swallowed; null as above.
        frames_lost_from_recipient: Option<i64>,
        /// Which dialect was inferred where no Hello told, and how sure that is, in words.
        inferred: Option<String>,
    }
}

table_row! {
    /// Frames of one message code.
    pub struct CodeRow in "code" by [run_id, capability, wire_code, name] {
        /// Run.
        run_id: i64,
        /// `istanbul/64`, `p2p` for the base protocol, `unknown`.
        capability: String,
        /// Code on the wire.
        wire_code: i64,
        /// Name of the message.
        name: String,
        /// How many frames.
        frames: i64,
        /// Their bytes on the wire.
        bytes: i64,
    }
}

table_row! {
    /// Messages that reached one receiver in one round, of one kind.
    pub struct CountRow in "message_count" by [run_id, sequence, round, chain_id, receiver_ip, kind] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// The receiver's IP address.
        receiver_ip: String,
        /// The receiver in text.
        receiver: String,
        /// Block height.
        sequence: i64,
        /// Attempt at it; of a round change the requested one.
        round: i64,
        /// `preprepare`, `prepare`, `commit` or `roundchange`.
        kind: String,
        /// All messages: `useful + repeats + echoes`.
        messages: i64,
        /// First copies of payloads that the receiver did not sign.
        useful: i64,
        /// Later copies of such payloads.
        repeats: i64,
        /// Copies of payloads that the receiver signed itself.
        echoes: i64,
        /// Of all messages, those with a wrong signature or another signer than claimed.
        invalid: i64,
        /// Their frames' bytes on the wire.
        bytes: i64,
        /// Whether more may have arrived than was seen.
        lower_bound: bool,
        /// Earliest sight.
        first_seen_ns: i64,
        /// Latest sight.
        last_seen_ns: i64,
        /// Of `repeats`, those that the same sender had handed over before; null in rows of schema 3.
        resent: Option<i64>,
        /// Of `repeats`, those that went back to where the sender had them from; null as above.
        echo_source: Option<i64>,
        /// Of `repeats`, those that crossed the receiver's own copy; null as above.
        crossing: Option<i64>,
        /// The other `repeats`; null as above.
        regossip: Option<i64>,
    }
}

table_row! {
    /// Copies of one signer's messages that one sender handed to one receiver; texts are ids into `label`.
    pub struct DeliveryRow in "delivery_row" by [run_id, sequence, round, chain_id, receiver_id, kind_id, sender_id, signer_id] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// The receiver's IP address, as id.
        receiver_id: i64,
        /// Who handed the copies over, as id.
        sender_id: i64,
        /// Who signed them, as id.
        signer_id: i64,
        /// Block height.
        sequence: i64,
        /// Attempt at it.
        round: i64,
        /// 0 preprepare, 1 prepare, 2 commit, 3 roundchange.
        kind_id: i64,
        /// How many messages.
        copies: i64,
        /// Earliest sight.
        first_seen_ns: i64,
        /// Latest sight.
        last_seen_ns: i64,
    }
}

table_row! {
    /// Messages per minute on one link.
    pub struct LinkCountRow in "link_count" by [run_id, minute_ns, chain_id, receiver_ip, sender, kind] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// Start of the minute.
        minute_ns: i64,
        /// The receiver's IP address.
        receiver_ip: String,
        /// The receiver in text.
        receiver: String,
        /// The sender in text.
        sender: String,
        /// `preprepare`, `prepare`, `commit` or `roundchange`.
        kind: String,
        /// How many messages.
        messages: i64,
        /// Their frames' bytes on the wire.
        bytes: i64,
    }
}

table_row! {
    /// How many distinct payloads arrived at a receiver in exactly so many copies.
    pub struct CopiesRow in "copies" by [run_id, receiver_ip, copies] {
        /// Run.
        run_id: i64,
        /// The receiver's IP address.
        receiver_ip: String,
        /// Number of copies, echoes included.
        copies: i64,
        /// Payloads with that number.
        payloads: i64,
    }
}

table_row! {
    /// One attempt at one height.
    pub struct RoundRow in "round" by [run_id, sequence, round, chain_id] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// Block height.
        sequence: i64,
        /// Attempt at it, from 0.
        round: i64,
        /// Who proposed, or should have.
        proposer: Option<String>,
        /// Validators with a vote.
        validators: Option<i64>,
        /// Distinct votes that make a node committed.
        quorum: Option<i64>,
        /// Earliest sight of the preprepare.
        preprepare_ns: Option<i64>,
        /// When the median fully covered node was prepared.
        prepared_ns: Option<i64>,
        /// When the median fully covered node was committed.
        committed_ns: Option<i64>,
        /// Messages of this round at all receivers.
        messages: i64,
        /// `decided`, `changed`, `open` or `unknown`.
        outcome: String,
        /// Why it was left for a higher round; null where it was not, and in rows of schema 3.
        cause: Option<String>,
        /// From the commit of the height before to this one's.
        block_time_ns: Option<i64>,
        /// `claimed`, `entered` or `left`; null in rows of schema 4 and before.
        standing: Option<String>,
    }
}

table_row! {
    /// Something worth a person's attention.
    pub struct EventRow in "event" by [run_id, event_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of events, from 0.
        event_number: i64,
        /// When.
        time_ns: i64,
        /// Which rule noticed it.
        rule: String,
        /// `info`, `warning` or `critical`.
        severity: String,
        /// Who signed.
        signer: Option<String>,
        /// Who handed it over.
        sender: Option<String>,
        /// Chain.
        chain_id: i64,
        /// Block height.
        sequence: Option<i64>,
        /// Attempt at it.
        round: Option<i64>,
        /// What happened, in words.
        detail: String,
        /// Whether an honest node would not do so.
        suspicious: bool,
        /// Kind of message, where it is about one.
        kind: Option<String>,
        /// Key of the blamed node.
        node_id: Option<String>,
        /// Address of the blamed node.
        address: Option<String>,
        /// IP address of the blamed node.
        ip: Option<String>,
        /// The numbers that made the rule speak, a JSON object; null without.
        numbers: Option<String>,
        /// Hashes of payloads that show it, a JSON array; null without.
        payloads: Option<String>,
    }
}

table_row! {
    /// A text that `delivery_row` names by id.
    pub(crate) struct LabelRow in "label" by [run_id, label_id] {
        /// Run.
        run_id: i64,
        /// Id within the run.
        label_id: i64,
        /// The text.
        label: String,
    }
}

table_row! {
    /// One batch of a run that is written as it is seen.
    pub struct ProgressRow in "progress" by [run_id, batch] {
        /// Run.
        run_id: i64,
        /// Number of the batch.
        batch: i64,
        /// When it was made, by the clock of the machine.
        written_ns: i64,
        /// Capture time of the newest packet in it.
        seen_ns: Option<i64>,
        /// How long after its time that packet was written.
        lag_ns: i64,
        /// Rows in it.
        rows_written: i64,
        /// Batches that waited in the spool.
        spooled_batches: i64,
        /// Bytes that waited in the spool.
        spooled_bytes: i64,
        /// Holes in streams, of the whole run until then.
        gaps: i64,
        /// Stream bytes lost, of the whole run until then.
        lost_bytes: i64,
        /// Frames that should hold a message and do not decode, of the whole run until then.
        undecodable: i64,
        /// Sessions with content that could not be read, of the whole run until then.
        unread_sessions: i64,
    }
}

table_row! {
    /// Sums of `message_count` over the minute of each row's first sight.
    pub struct MinuteCountRow in "minute_count" by [run_id, minute_ns, chain_id, receiver_ip, kind] {
        /// Run.
        run_id: i64,
        /// Start of the minute.
        minute_ns: i64,
        /// Chain.
        chain_id: i64,
        /// The receiver's IP address.
        receiver_ip: String,
        /// Kind of message.
        kind: String,
        /// The receiver in text.
        receiver: String,
        /// Sum of `messages`.
        messages: i64,
        /// Sum of `useful`.
        useful: i64,
        /// Sum of `repeats`.
        repeats: i64,
        /// Sum of `echoes`.
        echoes: i64,
        /// Sum of `invalid`.
        invalid: i64,
        /// Sum of `bytes`.
        bytes: i64,
        /// How many of the rows are lower bounds.
        rows_lower_bound: i64,
        /// How many rows were summed.
        heights: i64,
    }
}

table_row! {
    /// Sums of `round` over the minute of the preprepare.
    pub struct MinuteRoundRow in "minute_round" by [run_id, minute_ns, chain_id] {
        /// Run.
        run_id: i64,
        /// Start of the minute.
        minute_ns: i64,
        /// Chain.
        chain_id: i64,
        /// Rounds proposed in that minute.
        rounds: i64,
        /// Of these, rounds above 0.
        higher_rounds: i64,
        /// Highest height of these.
        highest_sequence: i64,
        /// Of these, rounds of which the median node was seen committed.
        committed: i64,
        /// Sum of their times from preprepare to commit.
        commit_ns_sum: i64,
        /// The longest of these times.
        commit_ns_max: i64,
    }
}
