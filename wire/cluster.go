package wire

import "encoding/binary"

// MaxShards bounds the shards of a cluster.
const MaxShards = 1024

// A Bootstrap makes a cluster out of an empty directory: it names the cluster
// and gives it shards 1..Shards. Only the directory's leader proposes it; a
// second one answers StatusExists.
type Bootstrap struct {
	Mutation        // Event is unused
	Cluster  ID     // what a client's Welcome says
	Shards   uint32 // 1..MaxShards
}

func (c *Bootstrap) Append(b []byte) []byte {
	b = c.Mutation.append(b)
	b = append(b, c.Cluster[:]...)
	return binary.LittleEndian.AppendUint32(b, c.Shards)
}

func (c *Bootstrap) Decode(body []byte) error {
	r := reader{b: body}
	c.Mutation.read(&r)
	c.Cluster = r.id()
	c.Shards = r.u32()
	return r.finish()
}
