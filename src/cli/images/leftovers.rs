//! What ended pulls hold, as a list.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::list::age;
use crate::images::Leftover;
use crate::output::{table, units};

/// What ended pulls hold, and when that was looked at.
pub(super) struct Leftovers {
    pub(super) leftovers: Vec<Leftover>,
    pub(super) now: Timestamp,
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leftovers.is_empty() {
            return f.write_str("nothing is left over");
        }
        let rows = self.leftovers.iter().map(|leftover| {
            [
                leftover.images.join(", "),
                units::bytes(leftover.size_bytes),
                (leftover.blobs + leftover.unfinished).to_string(),
                leftover.snapshots.to_string(),
                age(leftover.expires, self.now),
            ]
        });
        f.write_str(&table(["FOR", "SIZE", "BLOBS", "LAYERS", "KEPT FOR"], rows))
    }
}

impl Serialize for Leftovers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            images: &'a [String],
            size_bytes: u64,
            blobs: usize,
            unfinished_blobs: usize,
            snapshots: usize,
            expires: Option<String>,
            lease: &'a str,
        }
        serializer.collect_seq(self.leftovers.iter().map(|leftover| Entry {
            images: &leftover.images,
            size_bytes: leftover.size_bytes,
            blobs: leftover.blobs,
            unfinished_blobs: leftover.unfinished,
            snapshots: leftover.snapshots,
            expires: leftover.expires.map(|expires| expires.to_string()),
            lease: &leftover.lease,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Form, document};

    #[test]
    fn what_is_left_over_says_for_whom_and_how_long() {
        let now: Timestamp = "2026-11-23T01:00:00Z".parse().unwrap();
        let leftover = Leftover {
            lease: "pullctl-1".to_owned(),
            images: vec!["quay.io/a:1".to_owned()],
            expires: Some("2026-11-23T21:00:00Z".parse().unwrap()),
            blobs: 2,
            unfinished: 1,
            snapshots: 1,
            size_bytes: 5 << 20,
        };
        let leftovers = Leftovers { leftovers: vec![leftover], now };
        assert_eq!(
            document(&leftovers, Form::Text),
            "FOR           SIZE       BLOBS   LAYERS   KEPT FOR\n\
             quay.io/a:1   5.00 MiB   3       1        20 h"
        );
        let none = Leftovers { leftovers: Vec::new(), now };
        assert_eq!(document(&none, Form::Text), "nothing is left over");
        assert_eq!(document(&none, Form::Json), "[]");
    }
}
