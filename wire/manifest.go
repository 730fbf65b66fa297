package wire

// Limits of a manifest.
const (
	MaxSeats      = 200_000 // places of an event, areas included
	MaxRowSeats   = 4_096
	MaxRowParts   = 16    // rows of a section with the same name
	MaxSections   = 4_096 // sections and areas together
	MaxCategories = 64    // a request names them by a bit each
	MaxTitleLen   = 256   // bytes of Manifest.Name; other names have MaxKeyLen
)

// Access is a set of properties of a seat that a buyer may need.
type Access uint8

const (
	AccessWheelchair Access = 1 << 0
	AccessCompanion  Access = 1 << 1 // next to a wheelchair place
	AccessStepFree   Access = 1 << 2
	AccessAisle      Access = 1 << 3
	AccessHearing    Access = 1 << 4 // induction loop
	AccessSight      Access = 1 << 5 // for visually impaired people

	accessAll = AccessSight<<1 - 1
)

// A Manifest is all that an event sells. It never changes; Rules do, and are
// only where they start. Whoever builds one owns it until he hands it on; from
// then on it is immutable.
//
// Seat ids follow from it: sections in order, their rows in order, each row
// beginning a new word of 64 ids; then the areas, each beginning a new word.
// Earlier rows of a section are better, and so are earlier sections.
type Manifest struct {
	Key        string   // 1..MaxKeyLen bytes, unique in the cluster
	Name       string   // for people; may be empty
	Categories []string // price levels, the best first
	Sections   []Section
	Areas      []Area
	Rules      Rules
}

// A Section is a block of rows.
type Section struct {
	Name string
	Rows []Row
}

// A Row is a run of neighbouring seats. Rows of a section may share a name, as
// the two sides of an aisle do, if all their seats have different labels.
type Row struct {
	Name  string
	Focal uint16 // where the best seat is, in half seats from the first: n-1 is the middle of n seats
	Seats []Seat // at most MaxRowSeats
}

// A Seat is one numbered place.
type Seat struct {
	Label    string // its number as people read it; label of the place is section-row-seat
	GUID     string // the name the seating plan's own software gives it, or empty
	Category uint16 // index in Categories
	Access   Access
}

// An Area is a place without numbers: general admission.
type Area struct {
	Name     string
	Category uint16
	Capacity uint32
}
