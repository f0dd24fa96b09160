//! The word that somebody may have meant.

/// The known word that `word` is most like, if it is much like one; letter case does not count.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    known
        .iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            (distance(&word, &letters), letters.len(), *candidate)
        })
        // A third of the letters may differ: of four letters two that changed places, not two others.
        .filter(|(distance, len, _)| distance * 3 <= *len.max(&word.len()))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// How many letters are missing, added, changed, or have changed places with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Longer words are not misspelt, they are something else.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_are_recognised_and_others_are_not() {
        const LABELS: &[&str] = &["RLPX", "RLPX-AES"];
        for word in ["RLXP", "rlpx", "RLP", "RLPXX", "RPLX"] {
            assert_eq!(nearest(word, LABELS), Some("RLPX"), "{word}");
        }
        for word in ["RLPX_AES", "RLPXAES", "RLPX-AE", "rlpx-aes"] {
            assert_eq!(nearest(word, LABELS), Some("RLPX-AES"), "{word}");
        }
        for word in ["", "CLIENT_RANDOM", "NEW", "X", "AAAA"] {
            assert_eq!(nearest(word, LABELS), None, "{word}");
        }
        assert_eq!(nearest("nodeid", &["node_id", "name"]), Some("node_id"));
        assert_eq!(nearest("adress", &["address"]), Some("address"));
    }

    #[test]
    fn distances_count_letters() {
        let of = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("abc", "abc"), 0);
        assert_eq!(of("abc", "acb"), 1);
        assert_eq!(of("abcd", "bd"), 2);
    }
}
