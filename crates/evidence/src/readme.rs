//! The text for a reader who has never heard of bftap.

use std::fmt::Write as _;

use bftap_model::{CaptureTime, escape_peer_text};

use crate::claim::ClaimKind;
use crate::findings::{Finding, is_proven};
use crate::manifest::{Manifest, SIGNATURE};

/// The text of `README.md`. Texts that others chose are escaped.
pub(crate) fn text(manifest: &Manifest, findings: &[Finding], signed: bool) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write(&mut text, manifest, findings, signed);
    text
}

fn write(
    out: &mut String,
    manifest: &Manifest,
    findings: &[Finding],
    signed: bool,
) -> Result<(), std::fmt::Error> {
    let claim = &manifest.claim;
    let event = &manifest.event;
    let place = match claim.round {
        Some(round) => format!("height {}, round {round}", claim.sequence),
        None => format!("height {}", claim.sequence),
    };
    writeln!(out, "# Evidence: {} at {place}\n", claim.what.as_str())?;
    writeln!(
        out,
        "Validators of a blockchain with Istanbul BFT (Klaytn, Kaia, GoQuorum) agree on each block by signed messages. This folder holds \
         such messages as they crossed the wire, with what is needed to check them. It was made by {} from captured packets; \
         the messages were encrypted on the wire, and are shown here in the clear. No secret is in this folder.\n",
        shown(&manifest.tool)
    )?;
    writeln!(out, "## What it claims\n")?;
    writeln!(out, "{}\n", claim_in_words(manifest))?;
    writeln!(
        out,
        "Event {} of the run {}: rule `{}`, {}, chain {}: {}\n",
        event.number,
        shown(&event.run),
        shown(&event.rule),
        CaptureTime::from_nanos(event.time_ns),
        shown(&event.chain),
        shown(&event.detail)
    )?;
    let verdict = if is_proven(findings) && claim.what == ClaimKind::Signed {
        "Who signed is proven by the messages in this folder. That they break the rule is not."
    } else if is_proven(findings) {
        "The claim is proven by the messages in this folder."
    } else {
        "**The claim is not fully proven** by what is in this folder; see below what is missing."
    };
    writeln!(out, "## What it proves, and what not\n\n{verdict}\n")?;
    for finding in findings {
        let mark = match (finding.proven, finding.needed) {
            (true, _) => "proven",
            (false, true) => "NOT PROVEN",
            (false, false) => "not proven, and not needed",
        };
        writeln!(out, "- {mark}: {}", finding.text)?;
    }
    writeln!(out, "\nNot proven by anything here:\n")?;
    for limit in limits_of(manifest) {
        writeln!(out, "- {limit}")?;
    }
    writeln!(out, "\n## Files\n")?;
    writeln!(out, "| file | what |\n|---|---|")?;
    writeln!(
        out,
        "| `manifest.json` | what every file is, and what was read from it |"
    )?;
    for message in &manifest.messages {
        let role = if message.accused {
            "the claim is about it"
        } else {
            "seals a block"
        };
        let signer = message
            .signer
            .map_or_else(|| "no key".to_owned(), |signer| signer.to_string());
        writeln!(
            out,
            "| `{}` | {} of height {}, round {}; signature of {signer}; {role} |",
            message.file, message.kind, message.sequence, message.round
        )?;
    }
    for header in &manifest.headers {
        writeln!(out, "| `{}` | header of block {} |", header.file, header.number)?;
    }
    if let Some(packets) = &manifest.packets {
        writeln!(
            out,
            "| `{}` | {} packets that carried the messages, encrypted; chosen {} |",
            packets.file,
            packets.count,
            shown(&packets.chosen_by)
        )?;
    }
    writeln!(out, "| `SHA256SUMS` | hashes of all of these |")?;
    if signed {
        writeln!(out, "| `{SIGNATURE}` | signature of whoever made the bundle |")?;
    }
    writeln!(out, "\n## How to check it\n")?;
    writeln!(
        out,
        "With bftap, which needs nothing but this folder: `bftap evidence verify FOLDER`. It reads everything anew from the bytes and \
         believes nothing that stands in `manifest.json` or here.\n"
    )?;
    writeln!(out, "By hand:\n")?;
    for (index, step) in steps(manifest, signed).iter().enumerate() {
        writeln!(out, "{}. {step}", index + 1)?;
    }
    if manifest.packets.is_some() {
        writeln!(
            out,
            "\nWhoever has the secrets of the sessions, which are not here, can see that the packets carry the messages: \
             `bftap messages packets.pcapng --keylog SECRETS`."
        )?;
    }
    Ok(())
}

fn claim_in_words(manifest: &Manifest) -> String {
    let claim = &manifest.claim;
    let who = claim.accused.map_or_else(
        || "a validator".to_owned(),
        |address| format!("the key of {address}"),
    );
    match claim.what {
        ClaimKind::Equivocation => format!(
            "That {who} signed messages for different blocks in one step of the protocol. A validator that follows the protocol and \
             remembers what it has signed never does."
        ),
        ClaimKind::ConflictingLock if claim.accused.is_some() => format!(
            "That {who} committed to one block in a round, and to another block of the same height in another round."
        ),
        ClaimKind::ConflictingLock => "That validators committed to different blocks of one height in different rounds. Each may have followed \
             the protocol: two honest nodes can lock different blocks. It says that the height was in danger, not who is to blame."
            .to_owned(),
        ClaimKind::WrongSigner => format!("That {who} signed a message that names another address as its sender."),
        ClaimKind::BadSignature => {
            "That a message was sent whose signature is not one of the address that it names as its sender. Whoever made or changed it, \
             its bytes accuse nobody."
                .to_owned()
        }
        ClaimKind::NotValidator => format!(
            "That {who} signed consensus messages, and is not in the list of validators of the block that they build on."
        ),
        ClaimKind::Signed => format!(
            "That {who} signed these messages. What the rule `{}` says beyond that, about their number, time or order, no signature shows.",
            shown(&manifest.event.rule)
        ),
    }
}

fn limits_of(manifest: &Manifest) -> Vec<String> {
    let mut limits = vec![
        "when, where and between whom the messages were seen: places, times and packets in `manifest.json` are the word of whoever made the \
         bundle. Packets are encrypted with keys that both ends know, so they could be made up"
            .to_owned(),
        "why the key signed: a validator that lost its memory in a crash, whose key runs on two machines, or whose chain was copied for a \
         test together with its keys, signs twice just as one that lies; somebody who stole the key does too"
            .to_owned(),
        "that the chain is the one you mean: whoever makes up a chain can seal it with keys of his own. Compare the hash of the sealed block \
         below with a node of your chain"
            .to_owned(),
    ];
    let klaytn = manifest.headers.iter().any(|header| header.dialect == "klaytn");
    if manifest.claim.what == ClaimKind::NotValidator && klaytn {
        limits.push(
            "that the signer is no validator at all: Klaytn up to v1.6.0 lists in a header only the committee of that block".to_owned(),
        );
    }
    if manifest
        .packets
        .as_ref()
        .is_some_and(|packets| packets.left_out > 0)
    {
        limits.push("packets: some were left out because there was no room".to_owned());
    }
    for hash in &manifest.missing_payloads {
        limits.push(format!(
            "payload {hash}: the event names it, the captures do not hold it"
        ));
    }
    for (name, number) in &manifest.limits {
        limits.push(format!(
            "limit `{}` was reached while the bundle was made, {number} times",
            shown(name)
        ));
    }
    limits
}

fn steps(manifest: &Manifest, signed: bool) -> Vec<String> {
    let mut steps = vec![
        "`sha256sum -c SHA256SUMS` says whether the files are whole.".to_owned(),
        "A message is RLP. Klaytn and Kaia: `[PrevHash, Payload]`, the payload is `[Hash, Code, Msg, Address, Signature, CommittedSeal]`. \
         GoQuorum: a string that holds the payload `[Code, Msg, Address, Signature, CommittedSeal]`. Codes: 0 preprepare, 1 prepare, 2 commit, \
         3 roundchange. `Msg` holds `[[Round, Sequence], Block]` of a preprepare, else `[[Round, Sequence], Digest, ...]`."
            .to_owned(),
        "The signature is `r, s, v` (32, 32 and 1 bytes; v is 0 or 1) with secp256k1 over Keccak-256 of the payload with an empty signature \
         in its place (the list's length changes too). The recovered public key's address is the last 20 bytes of its Keccak-256."
            .to_owned(),
        "A block hash is Keccak-256 of the header with an empty list of committed seals in its extra data, and in Klaytn and Kaia with a \
         zero in byte 31 of the extra data (the round). Extra data: 32 bytes, then `[Validators, Seal, CommittedSeals]`."
            .to_owned(),
        "A committed seal in a commit is a signature over Keccak-256 of the block hash and the byte 2.".to_owned(),
    ];
    for anchor in &manifest.anchors {
        steps.push(format!(
            "Block {} must be one of your chain: ask a node for the block of that hash. {} of its {} validators sealed it here, {} are needed.",
            anchor.block,
            anchor.sealed_by.len(),
            anchor.validators,
            anchor.needed
        ));
    }
    if signed {
        steps.push(format!(
            "`{SIGNATURE}`: an ECDSA signature (DER, in hex) with secp256k1 over SHA-256 of `manifest.json`. Compare the public key in it with \
             the one that the operator gave you by another way."
        ));
    }
    steps
}

/// In one line, and harmless in Markdown too.
fn shown(text: &str) -> String {
    let escaped = escape_peer_text(text.as_bytes());
    let mut shown = String::with_capacity(escaped.len());
    let mut characters = escaped.chars().peekable();
    let mut before = None;
    while let Some(c) = characters.next() {
        // Within a word it means nothing: names of rules have it.
        let in_word = c == '_'
            && before.is_some_and(char::is_alphanumeric)
            && characters.peek().copied().is_some_and(char::is_alphanumeric);
        let harmful = matches!(c, '`' | '<' | '>' | '|' | '[' | ']' | '*' | '_' | '#') && !in_word;
        shown.push(if harmful { '?' } else { c });
        before = Some(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn names_of_rules_stay_and_markup_does_not() {
        assert_eq!(shown("repeated_payload"), "repeated_payload");
        assert_eq!(shown("_a_ __b__ c_"), "?a? ??b?? c?");
        assert_eq!(shown("`<x>|[y](z)*#"), "??x???y?(z)??");
    }
}
