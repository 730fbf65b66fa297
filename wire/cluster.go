package wire

import "encoding/binary"

// MaxShards bounds the shards of a cluster.
const MaxShards = 1024

// MaxNodes bounds the nodes of a cluster.
const MaxNodes = 256

// MaxReplicas bounds the replicas of a shard.
const MaxReplicas = 7

// Kinds that nodes put into logs. To a client they are unknown: docs/protocol.md
// does not have them.
const (
	// Operations on an event, by which it moves from shard to shard; see Freeze.

	KindFreeze Kind = 128 // Freeze → Frozen
	KindThaw   Kind = 129 // Numbered → empty
	KindImport Kind = 130 // Import → empty
	KindReplay Kind = 131 // Replay → empty
	KindAdopt  Kind = 132 // Adopt → empty
	KindDrop   Kind = 133 // Numbered → empty

	// A read of an event's shard, for whose ticket a node has made sure of.

	KindFindPlace Kind = 134 // PlaceRef → QueuePlace; linearizable

	// Operations on the directory.

	KindBootstrap     Kind = 143 // Bootstrap → empty
	KindBy            Kind = 144 // By → what the operation in it is answered
	KindAddNode       Kind = 145 // AddNode → empty
	KindDrainNode     Kind = 146 // DrainNode → empty
	KindRemoveNode    Kind = 147 // RemoveNode → empty
	KindAddShards     Kind = 148 // AddShards → Shards
	KindSetReplicas   Kind = 149 // SetReplicas → empty
	KindMove          Kind = 150 // Move → Number
	KindMoved         Kind = 151 // Numbered → empty
	KindUnmove        Kind = 152 // Numbered → empty
	KindAddSigningKey Kind = 153 // AddSigningKey → empty
)

// NodeInfo is a node as the directory knows it.
type NodeInfo struct {
	Name        []byte   // for ever
	Incarnation [16]byte // of its stores: a node whose disk was replaced has another
	Peer        []byte   // address for other nodes
	Addr        []byte   // of the binary protocol; empty: it has none
	HTTP        []byte   // of the HTTP frontend; empty: it has none
	Admin       []byte   // of the admin listener; empty: it has none
}

func (n *NodeInfo) append(b []byte) []byte {
	b = appendBytes(b, n.Name)
	b = append(b, n.Incarnation[:]...)
	b = appendBytes(b, n.Peer)
	b = appendBytes(b, n.Addr)
	b = appendBytes(b, n.HTTP)
	return appendBytes(b, n.Admin)
}

func (n *NodeInfo) read(r *reader) {
	n.Name = r.bytes()
	n.Incarnation = [16]byte(r.id())
	n.Peer, n.Addr, n.HTTP, n.Admin = r.bytes(), r.bytes(), r.bytes(), r.bytes()
}

// A Bootstrap makes a cluster out of an empty directory: it names the cluster,
// enters its first node, and gives it shards 1..Shards. Only the directory's
// leader proposes it; a second one answers StatusExists.
type Bootstrap struct {
	Mutation          // Event is unused
	Cluster  ID       // what a client's Welcome says
	Shards   uint32   // 1..MaxShards
	Replicas uint8    // of each shard, as soon as there are nodes for them; 1..MaxReplicas
	Node     NodeInfo // the first
	Signing  [32]byte // the first signing key's secret
}

func (c *Bootstrap) Append(b []byte) []byte {
	b = c.Mutation.append(b)
	b = append(b, c.Cluster[:]...)
	b = binary.LittleEndian.AppendUint32(b, c.Shards)
	b = append(b, c.Replicas)
	b = c.Node.append(b)
	return append(b, c.Signing[:]...)
}

func (c *Bootstrap) Decode(body []byte) error {
	r := reader{b: body}
	c.Mutation.read(&r)
	c.Cluster = r.id()
	c.Shards = r.u32()
	c.Replicas = r.u8()
	c.Node.read(&r)
	c.Signing = r.hash()
	return r.finish()
}

// A By says on whose behalf an operation on the directory is proposed, and when,
// for the audit log. The node that takes the operation adds it.
type By struct {
	Name   []byte // of the API key; empty: nobody was asked for one
	Wall   int64  // Unix milliseconds
	Record []byte // the operation, with its header
}

func (y *By) Append(b []byte) []byte {
	b = appendBytes(b, y.Name)
	b = binary.LittleEndian.AppendUint64(b, uint64(y.Wall))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(y.Record)))
	return append(b, y.Record...)
}

func (y *By) Decode(body []byte) error {
	r := reader{b: body}
	y.Name = r.bytes()
	y.Wall = int64(r.u64())
	y.Record = r.long()
	return r.finish()
}

// AddNode enters a node, or its new addresses. The same name with another
// incarnation is refused with StatusExists.
type AddNode struct {
	Mutation
	Node NodeInfo
}

func (a *AddNode) Append(b []byte) []byte { return a.Node.append(a.Mutation.append(b)) }

func (a *AddNode) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Node.read(&r)
	return r.finish()
}

// DrainNode has a node's replicas go elsewhere, or lets it have some again.
type DrainNode struct {
	Mutation
	Name  []byte
	Drain bool
}

func (d *DrainNode) Append(b []byte) []byte {
	return append(appendBytes(d.Mutation.append(b), d.Name), boolByte(d.Drain))
}

func (d *DrainNode) Decode(body []byte) error {
	r := reader{b: body}
	d.Mutation.read(&r)
	d.Name = r.bytes()
	d.Drain = r.bool()
	return r.finish()
}

// RemoveNode takes a node out of the cluster for good.
type RemoveNode struct {
	Mutation
	Name  []byte
	Force bool // although it has replicas: it is dead and will not come back
}

func (d *RemoveNode) Append(b []byte) []byte {
	return append(appendBytes(d.Mutation.append(b), d.Name), boolByte(d.Force))
}

func (d *RemoveNode) Decode(body []byte) error {
	r := reader{b: body}
	d.Mutation.read(&r)
	d.Name = r.bytes()
	d.Force = r.bool()
	return r.finish()
}

// AddShards makes shards, whose replicas are where there is most room.
type AddShards struct {
	Mutation
	Count uint32
}

func (a *AddShards) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(a.Mutation.append(b), a.Count)
}

func (a *AddShards) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Count = r.u32()
	return r.finish()
}

// Shards answers AddShards: First and those after it are new.
type Shards struct{ First, Count uint32 }

func (s *Shards) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, s.First)
	return binary.LittleEndian.AppendUint32(b, s.Count)
}

func (s *Shards) Decode(body []byte) error {
	r := reader{b: body}
	s.First, s.Count = r.u32(), r.u32()
	return r.finish()
}

// SetReplicas says on which nodes a shard has its replicas, the preferred leader
// first. It is refused with StatusExists if the directory has changed the shard
// since Base.
type SetReplicas struct {
	Mutation
	Shard uint32
	Base  uint64   // the shard's change number that the choice was made from; 0: whatever it is
	Nodes [][]byte // 1..MaxReplicas names
}

func (s *SetReplicas) Append(b []byte) []byte {
	b = s.Mutation.append(b)
	b = binary.LittleEndian.AppendUint32(b, s.Shard)
	b = binary.LittleEndian.AppendUint64(b, s.Base)
	b = append(b, byte(len(s.Nodes)))
	for _, name := range s.Nodes {
		b = appendBytes(b, name)
	}
	return b
}

func (s *SetReplicas) Decode(body []byte) error {
	r := reader{b: body}
	s.Mutation.read(&r)
	s.Shard = r.u32()
	s.Base = r.u64()
	n := int(r.u8())
	if n*2 > len(r.b) {
		return ErrShort
	}
	s.Nodes = make([][]byte, n)
	for i := range s.Nodes {
		s.Nodes[i] = r.bytes()
	}
	return r.finish()
}

// Move has an event go to another shard. Repeating it answers the number of the
// move that is under way.
type Move struct {
	Mutation
	To uint32 // shard
}

func (m *Move) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(m.Mutation.append(b), m.To)
}

func (m *Move) Decode(body []byte) error {
	r := reader{b: body}
	m.Mutation.read(&r)
	m.To = r.u32()
	return r.finish()
}

// Number answers Move: the directory counts moves, and what belongs to an earlier
// one is refused by everybody.
type Number struct{ Number uint64 }

func (n *Number) Append(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, n.Number) }

func (n *Number) Decode(body []byte) error {
	r := reader{b: body}
	n.Number = r.u64()
	return r.finish()
}

// Numbered is a step of the move with that number. A Thaw lets the event go on that
// is frozen for it, and has a Freeze refused that comes later; a Drop ends the event
// here that is frozen for it.
type Numbered struct {
	Mutation
	Number uint64
}

func (n *Numbered) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(n.Mutation.append(b), n.Number)
}

func (n *Numbered) Decode(body []byte) error {
	r := reader{b: body}
	n.Mutation.read(&r)
	n.Number = r.u64()
	return r.finish()
}

// AddSigningKey stores a new signing key. The one before it stays good, those
// before that do not.
type AddSigningKey struct {
	Mutation
	Secret [32]byte
}

func (a *AddSigningKey) Append(b []byte) []byte { return append(a.Mutation.append(b), a.Secret[:]...) }

func (a *AddSigningKey) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Secret = r.hash()
	return r.finish()
}

// Freeze stops an event in the shard that it is to leave: from then on its
// operations and linearizable reads are answered StatusMoved, nothing of it
// expires, and its time stands still. Repeating it gives the same answer.
type Freeze struct {
	Mutation        // ID is unused, as in all steps of a move
	Number   uint64 // of the move; a lower one than the event has seen is refused
}

func (f *Freeze) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(f.Mutation.append(b), f.Number)
}

func (f *Freeze) Decode(body []byte) error {
	r := reader{b: body}
	f.Mutation.read(&r)
	f.Number = r.u64()
	return r.finish()
}

// Frozen answers Freeze.
type Frozen struct {
	Index uint64 // of the entry that froze the event: it has seen all before
	Now   Millis // the event's time, at which it stands
	Hash  uint64 // of the event, as it goes on in the other shard
	Epoch uint16
}

func (f *Frozen) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, f.Index)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Now))
	b = binary.LittleEndian.AppendUint64(b, f.Hash)
	return binary.LittleEndian.AppendUint16(b, f.Epoch)
}

func (f *Frozen) Decode(body []byte) error {
	r := reader{b: body}
	f.Index = r.u64()
	f.Now = Millis(r.u64())
	f.Hash = r.u64()
	f.Epoch = r.u16()
	return r.finish()
}

// Import brings one chunk of an event's image to the shard that it goes to,
// where it is staged until it is adopted. Chunks come in order; one that came
// before is skipped. A higher attempt begins anew, a lower one is refused.
type Import struct {
	Mutation
	Number  uint64 // of the move
	Attempt uint64
	Offset  uint32 // of Chunk within the image
	Total   uint32 // bytes of the whole image, at most MaxImage
	Chunk   []byte // at most MaxChunk
}

// MaxImage bounds the image of an event, in bytes.
const MaxImage = 1 << 30

func (i *Import) Append(b []byte) []byte {
	b = i.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, i.Number)
	b = binary.LittleEndian.AppendUint64(b, i.Attempt)
	b = binary.LittleEndian.AppendUint32(b, i.Offset)
	b = binary.LittleEndian.AppendUint32(b, i.Total)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(i.Chunk)))
	return append(b, i.Chunk...)
}

func (i *Import) Decode(body []byte) error {
	r := reader{b: body}
	i.Mutation.read(&r)
	i.Number = r.u64()
	i.Attempt = r.u64()
	i.Offset = r.u32()
	i.Total = r.u32()
	i.Chunk = r.long()
	return r.finish()
}

// Replay brings what happened in the old shard since the image was taken: its
// entries, all of them, each with its index and stamp and the records on this
// event, up to the one with the Freeze. The staged event applies them as the old
// shard has. Entries that it has seen are skipped; After must not be beyond the
// last that it has.
type Replay struct {
	Mutation
	Number  uint64
	Attempt uint64
	After   uint64 // index of the entry before the first of Entries
	Entries []byte // of AppendReplayed
}

func (p *Replay) Append(b []byte) []byte {
	b = p.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, p.Number)
	b = binary.LittleEndian.AppendUint64(b, p.Attempt)
	b = binary.LittleEndian.AppendUint64(b, p.After)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Entries)))
	return append(b, p.Entries...)
}

func (p *Replay) Decode(body []byte) error {
	r := reader{b: body}
	p.Mutation.read(&r)
	p.Number = r.u64()
	p.Attempt = r.u64()
	p.After = r.u64()
	p.Entries = r.long()
	return r.finish()
}

// AppendReplayed appends one entry of a Replay: u64 index, i64 stamp, u32 length,
// records.
func AppendReplayed(b []byte, index uint64, stamp Millis, records []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, index)
	b = binary.LittleEndian.AppendUint64(b, uint64(stamp))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(records)))
	return append(b, records...)
}

// NextReplayed splits the first entry off the entries of a Replay.
func NextReplayed(b []byte) (index uint64, stamp Millis, records, rest []byte, err error) {
	r := reader{b: b}
	index = r.u64()
	stamp = Millis(r.u64())
	records = r.long()
	return index, stamp, records, r.b, r.err
}

// Adopt makes the staged event the shard's own, in the place of any that it has
// from an earlier move. It is refused unless the staged event's hash is Hash, and
// then another attempt has to begin with the image. The event's time goes on from
// Now.
type Adopt struct {
	Mutation
	Number  uint64
	Attempt uint64
	Hash    uint64
	Now     Millis // the event's time when it was frozen
	Epoch   uint16 // of its versions from now on; at least one above those before
}

func (a *Adopt) Append(b []byte) []byte {
	b = a.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, a.Number)
	b = binary.LittleEndian.AppendUint64(b, a.Attempt)
	b = binary.LittleEndian.AppendUint64(b, a.Hash)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Now))
	return binary.LittleEndian.AppendUint16(b, a.Epoch)
}

func (a *Adopt) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Number = r.u64()
	a.Attempt = r.u64()
	a.Hash = r.u64()
	a.Now = Millis(r.u64())
	a.Epoch = r.u16()
	return r.finish()
}
