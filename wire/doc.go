// Package wire is the vocabulary of Usher and its byte format: ids, operations,
// outcomes, frames and manifests. Both ends of a connection and every layer of
// the server speak it, so it imports nothing but the standard library.
//
// All integers are little-endian. Decoders of bodies do not allocate, but for
// EventList, EventInfo and other lists of more than bytes, and never trust a length: each count is checked
// against the bytes that are there before it is used. A decoded body aliases the
// bytes it was decoded from and lives no longer than they do; a decoded Manifest
// is a copy.
//
// A body, and a manifest, has exactly one encoding: decoders refuse booleans
// that are neither 0 nor 1, reserved bytes that are not 0, and bytes left over.
//
// docs/protocol.md gives the same format in prose, with test vectors.
package wire
