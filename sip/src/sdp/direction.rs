//! Who sends (RFC 3264 §5.1, §6.1, §8.4).

use serde::{Deserialize, Serialize};

/// What an end may do with a stream, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// It sends: the other side is on hold.
    SendOnly,
    /// It receives: it is on hold.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// From what it may do.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether it sends.
    pub fn sends(self) -> bool {
        match self {
            Self::SendRecv | Self::SendOnly => true,
            Self::RecvOnly | Self::Inactive => false,
        }
    }

    /// Whether it receives.
    pub fn receives(self) -> bool {
        match self {
            Self::SendRecv | Self::RecvOnly => true,
            Self::SendOnly | Self::Inactive => false,
        }
    }

    /// What we may do when we want this and the other side says `remote`: we send only to who
    /// receives, and receive only from who sends (RFC 3264 §6.1).
    pub fn answering(self, remote: Self) -> Self {
        Self::new(self.sends() && remote.receives(), self.receives() && remote.sends())
    }

    /// The attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// From the attribute.
    pub fn from_attribute(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{self, Inactive, RecvOnly, SendOnly, SendRecv};

    #[test]
    fn an_answer_to_sendonly_must_be_recvonly_or_inactive() {
        assert_eq!(SendRecv.answering(SendOnly), RecvOnly);
        assert_eq!(RecvOnly.answering(SendOnly), RecvOnly);
        assert_eq!(SendOnly.answering(SendOnly), Inactive);
    }

    #[test]
    fn an_answer_to_recvonly_must_be_sendonly_or_inactive() {
        assert_eq!(SendRecv.answering(RecvOnly), SendOnly);
        assert_eq!(RecvOnly.answering(RecvOnly), Inactive);
    }

    #[test]
    fn an_answer_to_inactive_must_be_inactive() {
        for wanted in [SendRecv, SendOnly, RecvOnly, Inactive] {
            assert_eq!(wanted.answering(Inactive), Inactive);
        }
    }

    #[test]
    fn an_answer_to_sendrecv_is_what_we_want() {
        for wanted in [SendRecv, SendOnly, RecvOnly, Inactive] {
            assert_eq!(wanted.answering(SendRecv), wanted);
            assert_eq!(Direction::from_attribute(wanted.as_str()), Some(wanted));
        }
    }
}
