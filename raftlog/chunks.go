package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The format of Pebble's record files, as of pebbleFormat: blocks of 32 KiB with
// chunks of a header and a payload; what is left of a block that no header fits
// in is zero.
const (
	chunkBlock   = 32 << 10
	plainHeader  = 7  // checksum u32, length u16, type u8
	numHeader    = 11 // and the low half of the file's number
	syncHeader   = 19 // and the synced offset
	chunkPlain   = 1  // types 1-4: plainHeader
	chunkNum     = 5  // types 5-8: numHeader
	chunkSync    = 9  // types 9-12: syncHeader
	chunkEnd     = 13
	chunkCRCPlus = 0xa282ead8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errChunk is a chunk that is not what was written.
var errChunk = errors.New("bad chunk")

// checkChunks makes sure that a file consists of valid chunks up to the offset
// upTo. If not, at is where the first bad one begins.
func checkChunks(fs vfs.FS, path string, num uint32, upTo uint64) (at uint64, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, chunkBlock)
	for base := uint64(0); base < upTo; base += chunkBlock {
		n, err := io.ReadFull(f, block[:min(chunkBlock, upTo-base)])
		if err != nil {
			return base + uint64(n), fmt.Errorf("the file ends: %w", err)
		}
		at, end, err := checkBlock(block[:n], num)
		if err != nil || end {
			return base + uint64(at), err
		}
	}
	return upTo, nil
}

// checkBlock walks the chunks of a block, or of what was synced of it. end says
// that the file was closed here.
func checkBlock(b []byte, num uint32) (at int, end bool, err error) {
	for at < len(b) {
		rest := b[at:]
		header := 0
		if len(rest) >= plainHeader {
			switch typ := rest[6]; {
			case typ >= chunkPlain && typ < chunkNum:
				header = plainHeader
			case typ >= chunkNum && typ < chunkSync:
				header = numHeader
			case typ >= chunkSync && typ < chunkEnd:
				header = syncHeader
			}
		}
		if header == 0 && chunkBlock-at < syncHeader && allZero(rest) {
			return at, false, nil
		}
		if header == 0 || len(rest) < header {
			return at, false, errChunk
		}
		sum := binary.LittleEndian.Uint32(rest)
		length := int(binary.LittleEndian.Uint16(rest[4:]))
		if header != plainHeader {
			switch binary.LittleEndian.Uint32(rest[7:]) {
			case num:
			case num + 1:
				if sum == 0 && length == 0 {
					return at, true, nil
				}
				return at, false, errChunk
			default:
				return at, false, errChunk
			}
		}
		if header+length > len(rest) {
			return at, false, errChunk
		}
		c := crc32.Checksum(rest[6:header+length], castagnoli)
		if (c>>15|c<<17)+chunkCRCPlus != sum {
			return at, false, errChunk
		}
		at += header + length
	}
	return at, false, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
