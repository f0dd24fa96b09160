//! The policy file: who may talk to whom, as TOML or JSON (docs/exposure.md).

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use bftap_analysis::{ExposureGroup, ExposureKind, ExposurePolicy, KnownNode, Subnet};
use bftap_model::{Address, NodeId};
use serde::Deserialize;

use crate::nearest::nearest;
use crate::term::safe_display;

/// Why a policy is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// It cannot be read.
    #[error("cannot read the policy {path}: {source}")]
    Read { path: String, source: std::io::Error },
    /// It is larger than any policy.
    #[error("the policy {path} is larger than {MAX_FILE} bytes: is it a policy?")]
    TooLarge { path: String },
    /// It is not what it should look like; the text says line and column.
    #[error("the policy {path} is wrong: {why}")]
    Shape { path: String, why: String },
    /// A value makes no sense.
    #[error("the policy {path} is wrong in line {line}: {why}")]
    Value { path: String, line: usize, why: String },
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    subnet_bits: Option<u8>,
    #[serde(default)]
    subnet_bits_v6: Option<u8>,
    #[serde(default, alias = "groups")]
    group: Vec<GroupEntry>,
    #[serde(default)]
    allow: Vec<AllowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupEntry {
    name: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    serves: Vec<String>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowEntry {
    between: [String; 2],
}

/// A text of the file that makes no sense, and why.
type Wrong<'t> = (&'t str, String);

const KINDS: [ExposureKind; 5] = [
    ExposureKind::Other,
    ExposureKind::Consensus,
    ExposureKind::Proxy,
    ExposureKind::Validator,
    ExposureKind::Sentry,
];

/// Sanity: a policy is written by hand.
const MAX_FILE: u64 = 4 << 20;

/// Reads a policy; names in it are those of `nodes`.
///
/// # Errors
/// It cannot be read, or does not mean anything; the message says where and what to do.
pub(crate) fn read(path: &Path, nodes: &[KnownNode]) -> Result<ExposurePolicy, PolicyError> {
    let shown = || safe_display(path.display());
    let failed = |source| PolicyError::Read {
        path: shown(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(PolicyError::TooLarge { path: shown() });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let shape = |why: String| PolicyError::Shape { path: shown(), why };
    let file = if text.trim_start().starts_with('{') {
        serde_json::from_str::<PolicyFile>(text).map_err(|error| shape(error.to_string()))?
    } else {
        toml::from_str(text).map_err(|error| shape(error.to_string()))?
    };
    resolve(&file, nodes).map_err(|(value, why)| PolicyError::Value {
        path: shown(),
        line: line_of(text, value),
        why,
    })
}

/// The line of a text that stands in the file, or the first one.
fn line_of(text: &str, value: &str) -> usize {
    let quoted = ['"', '\''].map(|quote| text.find(&format!("{quote}{value}{quote}")));
    let at = quoted.into_iter().flatten().min().or_else(|| text.find(value));
    text[..at.unwrap_or(0)].matches('\n').count() + 1
}

fn resolve<'f>(file: &'f PolicyFile, nodes: &[KnownNode]) -> Result<ExposurePolicy, Wrong<'f>> {
    let mut policy = ExposurePolicy::default();
    for (at, (key, bits, most)) in [
        ("subnet_bits", file.subnet_bits, 32),
        ("subnet_bits_v6", file.subnet_bits_v6, 128),
    ]
    .into_iter()
    .enumerate()
    {
        if let Some(bits) = bits {
            if bits > most {
                return Err((key, format!("{key} is {bits}: choose at most {most}")));
            }
            policy.subnet_bits[at] = bits;
        }
    }
    if file.group.is_empty() {
        return Err((
            "",
            "it has no groups: add [[group]] with a name and nodes, keys or ips".to_owned(),
        ));
    }
    let names: Vec<&str> = file.group.iter().map(|group| &*group.name).collect();
    let place = |name: &'f str| {
        let found = names.iter().position(|known| *known == name);
        found.ok_or_else(|| (name, format!("there is no group {name}{}", meant(name, &names))))
    };
    for (at, entry) in file.group.iter().enumerate() {
        if names[..at].contains(&&*entry.name) {
            return Err((
                &entry.name,
                format!("two groups are called {}: give each its own name", entry.name),
            ));
        }
        let serves = entry
            .serves
            .iter()
            .map(|name| place(name))
            .collect::<Result<BTreeSet<_>, _>>()?;
        policy.groups.push(group(entry, serves, nodes)?);
    }
    for allow in &file.allow {
        let [one, other] = &allow.between;
        policy.allowed.insert((place(one)?, place(other)?));
    }
    Ok(policy)
}

fn group<'f>(
    entry: &'f GroupEntry,
    serves: BTreeSet<usize>,
    nodes: &[KnownNode],
) -> Result<ExposureGroup, Wrong<'f>> {
    let kind = match &entry.kind {
        None => ExposureKind::Other,
        Some(word) => {
            let words = KINDS.map(ExposureKind::as_str);
            let found = KINDS.into_iter().find(|kind| kind.as_str() == word);
            found.ok_or_else(|| {
                (
                    &**word,
                    format!("there is no kind {word}: choose one of {}", words.join(", ")),
                )
            })?
        }
    };
    let mut group = ExposureGroup {
        name: entry.name.clone(),
        kind,
        closed: entry.closed.unwrap_or(kind.is_inner()),
        serves,
        ..ExposureGroup::default()
    };
    if group.name.trim().is_empty() {
        return Err(("name", "a group has an empty name: give it one".to_owned()));
    }
    if entry.nodes.is_empty() && entry.keys.is_empty() && entry.ips.is_empty() {
        return Err((
            &entry.name,
            format!("group {} has no members: give nodes, keys or ips", entry.name),
        ));
    }
    for name in &entry.nodes {
        if !nodes.iter().any(|node| node.name == *name) {
            let known: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
            let advice = if known.is_empty() {
                ": name the nodes with --nodes FILE".to_owned()
            } else {
                format!(" in the nodes file{}", meant(name, &known))
            };
            return Err((name, format!("there is no node {name}{advice}")));
        }
        group.names.insert(name.clone());
    }
    for key in &entry.keys {
        let digits = key.strip_prefix("0x").unwrap_or(key);
        let address = digits
            .parse::<NodeId>()
            .map(|id| id.address())
            .or_else(|_| digits.parse::<Address>());
        let wrong = |_| {
            let why = format!(
                "{key} is no key: give a node id (128 hexadecimal digits) or an address (40 of them)"
            );
            (&**key, why)
        };
        group.addresses.insert(address.map_err(wrong)?);
    }
    for ip in &entry.ips {
        let subnet = subnet(ip).ok_or_else(|| {
            let why =
                format!("{ip} is no IP address and no subnet: write 10.0.0.1, 10.0.0.0/24 or fd00::/64");
            (&**ip, why)
        })?;
        group.subnets.push(subnet);
    }
    Ok(group)
}

fn subnet(text: &str) -> Option<Subnet> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (text, None),
    };
    let ip: IpAddr = ip.trim().parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some(Subnet { ip, bits })
}

fn meant(name: &str, known: &[&str]) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!(": is {near} meant?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<KnownNode> {
        ["cn1", "cn2"]
            .map(|name| KnownNode {
                name: name.to_owned(),
                ..KnownNode::default()
            })
            .to_vec()
    }

    fn of(text: &str) -> Result<ExposurePolicy, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy");
        fs::write(&path, text).unwrap();
        let told = path.display().to_string();
        read(&path, &nodes()).map_err(|error| error.to_string().replace(&told, "FILE"))
    }

    const TOML: &str = "subnet_bits = 28\n\n[[group]]\nname = \"inner\"\nkind = \"consensus\"\nnodes = [\"cn1\", \"cn2\"]\n\
        keys = [\"0x00000000000000000000000000000000000000aa\"]\n\n[[group]]\nname = \"outer\"\nkind = \"proxy\"\n\
        serves = [\"inner\"]\nips = [\"10.0.0.7\", \"10.1.0.0/16\", \"fd00::/64\"]\n\n\
        [[group]]\nname = \"us\"\nips = [\"192.168.0.0/24\"]\n\n[[allow]]\nbetween = [\"us\", \"inner\"]\n";

    const JSON: &str = r#"{"subnet_bits": 28, "group": [
        {"name": "inner", "kind": "consensus", "nodes": ["cn1", "cn2"], "keys": ["0x00000000000000000000000000000000000000aa"]},
        {"name": "outer", "kind": "proxy", "serves": ["inner"], "ips": ["10.0.0.7", "10.1.0.0/16", "fd00::/64"]},
        {"name": "us", "ips": ["192.168.0.0/24"]}], "allow": [{"between": ["us", "inner"]}]}"#;

    #[test]
    fn both_forms_say_the_same() {
        let policy = of(TOML).unwrap();
        assert_eq!(policy, of(JSON).unwrap());
        assert_eq!(policy.subnet_bits, [28, 64]);
        assert_eq!(policy.allowed, [(2, 0)].into());
        let [inner, outer, us] = &policy.groups[..] else {
            panic!("three")
        };
        assert!(inner.closed && !outer.closed && !us.closed);
        assert_eq!(
            (inner.names.len(), inner.addresses.len(), us.kind),
            (2, 1, ExposureKind::Other)
        );
        assert_eq!((&outer.serves, outer.subnets.len()), (&[0].into(), 3));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_what_to_do() {
        for (from, to, line, why) in [
            (
                "\"cn2\"",
                "\"cn3\"",
                6,
                "there is no node cn3 in the nodes file: is cn",
            ),
            (
                "\"proxy\"",
                "\"proxies\"",
                11,
                "there is no kind proxies: choose one of other, consensus",
            ),
            (
                "[\"inner\"]",
                "[\"iner\"]",
                12,
                "there is no group iner: is inner meant?",
            ),
            (
                "10.1.0.0/16",
                "10.1.0.0/33",
                13,
                "is no IP address and no subnet: write",
            ),
            (
                "\"us\", \"inner\"",
                "\"uss\", \"inner\"",
                20,
                "there is no group uss: is us meant?",
            ),
            ("0x0000", "0x00", 7, "is no key: give a node id"),
            ("= 28", "= 33", 1, "subnet_bits is 33: choose at most 32"),
            (
                "name = \"us\"\nips = [\"192.168.0.0/24\"]",
                "name = \"us\"",
                16,
                "group us has no members",
            ),
            (
                "name = \"us\"",
                "name = \"outer\"",
                10,
                "two groups are called outer",
            ),
        ] {
            let text = TOML.replacen(from, to, 1);
            assert_ne!(text, TOML);
            let error = of(&text).unwrap_err();
            assert!(
                error.starts_with(&format!("the policy FILE is wrong in line {line}: "))
                    && error.contains(why),
                "{error}"
            );
        }
        let typo = of(&TOML.replace("serves", "serve")).unwrap_err();
        assert!(typo.contains("line 12") && typo.contains("serve"), "{typo}");
        let typo = of(&JSON.replace("serves", "serve")).unwrap_err();
        assert!(typo.contains("line 3") && typo.contains("serve"), "{typo}");
        assert!(of("").unwrap_err().contains("it has no groups"));
        assert!(of("{").unwrap_err().contains("line 1"));
    }
}
