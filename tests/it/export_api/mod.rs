//! The export API of LiveLeader at `/a/Srv`. The tests put chats into versions without a vendor.

mod authentication;
mod export_passwords;
mod interrupted_exports;
mod invalid_requests;
mod periods;
mod publishing;
mod served_chats;
mod xml_documents;

/// Header lines of a request.
type Lines<'a> = Vec<(&'a str, &'a str)>;
