// Package wire is the vocabulary of Usher and its byte format: ids, operations,
// outcomes, frames and manifests. Both ends of a connection and every layer of
// the server speak it, so it imports nothing but the standard library.
//
// All integers are little-endian. Decoders never allocate and never trust a
// length: each count is checked against the bytes that are there before it is
// used. A decoded value aliases the bytes it was decoded from and lives no
// longer than they do.
//
// docs/protocol.md gives the same format in prose, with test vectors.
package wire
