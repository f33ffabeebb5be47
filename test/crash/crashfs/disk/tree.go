package disk

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Tree is a state of the file system, apart from any Disk.
type Tree struct {
	Mode    uint32           // permission bits
	Entries map[string]*Tree // nil for a file
	content image
}

// Bytes returns the content of a file.
func (t *Tree) Bytes() []byte {
	b := make([]byte, t.content.size)
	t.content.readAt(b, 0)
	return b
}

// WriteTo makes the directory dir, which must not exist, hold the tree. Holes
// stay holes. Nothing is synced.
func (t *Tree) WriteTo(dir string) error {
	if t.Entries == nil {
		return t.writeFile(dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	for name, entry := range t.Entries {
		if err := entry.WriteTo(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, os.FileMode(t.Mode)&os.ModePerm); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	return nil
}

func (t *Tree) writeFile(name string) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write tree: %w", cerr)
		}
	}()
	if err := t.fill(f); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	return nil
}

func (t *Tree) fill(f *os.File) error {
	if err := f.Chmod(os.FileMode(t.Mode) & os.ModePerm); err != nil {
		return err
	}
	if err := f.Truncate(t.content.size); err != nil {
		return err
	}
	for _, i := range slices.Sorted(maps.Keys(t.content.pages)) {
		page, start := t.content.pages[i], i*PageSize
		if start >= t.content.size || &page[0] == &zeroPage[0] {
			continue
		}
		if _, err := f.WriteAt(page[:min(PageSize, t.content.size-start)], start); err != nil {
			return err
		}
	}
	return nil
}

// ReadTree reads a directory of plain files and directories.
func ReadTree(dir string) (*Tree, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	t := &Tree{Mode: uint32(info.Mode().Perm())}
	switch {
	case info.Mode().IsRegular():
		t.content, err = readImage(dir)
	case info.IsDir():
		t.Entries, err = readEntries(dir)
	default:
		err = fmt.Errorf("read tree: %s is neither file nor directory", dir)
	}
	return t, err
}

func readEntries(dir string) (map[string]*Tree, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	entries := map[string]*Tree{}
	for _, e := range list {
		if entries[e.Name()], err = ReadTree(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// readImage keeps pages of zeros as holes.
func readImage(name string) (m image, err error) {
	f, err := os.Open(name)
	if err != nil {
		return m, fmt.Errorf("read tree: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	for {
		page := make([]byte, PageSize)
		n, err := io.ReadFull(f, page)
		if n > 0 {
			m.append(page, n)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return m, nil
		default:
			return m, fmt.Errorf("read tree: %w", err)
		}
	}
}

func (m *image) append(page []byte, n int) {
	if i := m.size / PageSize; string(page) != string(zeroPage) {
		m.put(i, page, 0)
	}
	m.size += int64(n)
}

// load fills the empty directory p with t, all durable.
func (d *Disk) load(p *Inode, t *Tree) {
	p.attr.Mode = t.Mode
	for name, e := range t.Entries {
		n := d.newInode(e.Mode, e.body())
		n.links, n.parent, n.name = 1, p, name
		p.dir.now[name], p.dir.disk[name] = n, n
		if n.IsDir() {
			d.load(n, e)
		} else {
			d.pages += int64(len(e.content.pages))
		}
	}
}

func (t *Tree) body() any {
	if t.Entries != nil {
		return newDirectory()
	}
	return &file{now: t.content.clone(), disk: t.content}
}
