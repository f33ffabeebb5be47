package disk

import "maps"

// PageSize is the unit that survives or is lost, in bytes.
const PageSize = 4096

// sectorSize is what a disk writes whole, in bytes.
const sectorSize = 512

// zeroPage is every page that is allocated and was never written.
var zeroPage = make([]byte, PageSize)

// image is the content of a file. Pages are never changed in place, so images
// may share them; an absent page is a hole.
type image struct {
	pages map[int64][]byte
	size  int64
}

func (m image) clone() image { return image{maps.Clone(m.pages), m.size} }

// page returns the page, zeros for a hole.
func (m image) page(i int64) []byte {
	if b, ok := m.pages[i]; ok {
		return b
	}
	return zeroPage
}

// put replaces a page and grows the file to end if it is shorter.
func (m *image) put(i int64, b []byte, end int64) {
	if m.pages == nil {
		m.pages = map[int64][]byte{}
	}
	m.pages[i] = b
	m.size = max(m.size, end)
}

// readAt fills p from off and returns how many bytes the file has there.
func (m image) readAt(p []byte, off int64) int {
	n := max(0, min(int64(len(p)), m.size-off))
	for at := off; at < off+n; {
		i := at / PageSize
		at += int64(copy(p[at-off:n], m.page(i)[at-i*PageSize:]))
	}
	return int(n)
}

// resize cuts or extends the image and returns how many pages it lost. Pages
// reserved beyond the end are lost unless it grows, as on ext4.
func (m *image) resize(size int64) (freed int64) {
	if size > m.size {
		m.size = size
		return 0
	}
	for i, b := range m.pages {
		switch start := i * PageSize; {
		case start >= size:
			delete(m.pages, i)
			freed++
		case start+PageSize > size:
			cut := make([]byte, PageSize)
			copy(cut, b[:size-start])
			m.pages[i] = cut
		}
	}
	m.size = size
	return freed
}
