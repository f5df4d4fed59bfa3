//! One RTP session: symmetric RTP, sequence numbers, SSRC changes and reports.
