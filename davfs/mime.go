package davfs

import (
	"mime"
	"path"
	"strings"
)

// ContentType tells the media type of a file by its name alone: never by its
// bytes, so a listing reads no data. Unknown is application/octet-stream.
func ContentType(name string) string {
	ext := path.Ext(name)
	if ext == "" || ext == name {
		return octetStream
	}
	if t, ok := types[ext]; ok {
		return t
	}
	lower := strings.ToLower(ext)
	if t, ok := types[lower]; ok {
		return t
	}
	if t := mime.TypeByExtension(lower); t != "" {
		return t
	}
	return octetStream
}

const octetStream = "application/octet-stream"

// types comes before the table of the machine, which differs from one to the
// next and is often empty. It has what is on research and office drives.
var types = map[string]string{
	".7z":      "application/x-7z-compressed",
	".aac":     "audio/aac",
	".avi":     "video/x-msvideo",
	".bam":     octetStream,
	".bmp":     "image/bmp",
	".bz2":     "application/x-bzip2",
	".c":       "text/plain; charset=utf-8",
	".cpp":     "text/plain; charset=utf-8",
	".cram":    octetStream,
	".css":     "text/css; charset=utf-8",
	".csv":     "text/csv; charset=utf-8",
	".cwl":     "text/plain; charset=utf-8",
	".doc":     "application/msword",
	".docx":    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".epub":    "application/epub+zip",
	".fa":      "text/plain; charset=utf-8",
	".fasta":   "text/plain; charset=utf-8",
	".fastq":   "text/plain; charset=utf-8",
	".flac":    "audio/flac",
	".gif":     "image/gif",
	".go":      "text/plain; charset=utf-8",
	".gz":      "application/gzip",
	".h":       "text/plain; charset=utf-8",
	".h5":      "application/x-hdf5",
	".heic":    "image/heic",
	".htm":     "text/html; charset=utf-8",
	".html":    "text/html; charset=utf-8",
	".ico":     "image/x-icon",
	".ics":     "text/calendar; charset=utf-8",
	".ipynb":   "application/x-ipynb+json",
	".iso":     "application/x-iso9660-image",
	".jpeg":    "image/jpeg",
	".jpg":     "image/jpeg",
	".js":      "text/javascript; charset=utf-8",
	".json":    "application/json",
	".log":     "text/plain; charset=utf-8",
	".m4a":     "audio/mp4",
	".m4v":     "video/mp4",
	".md":      "text/markdown; charset=utf-8",
	".mjs":     "text/javascript; charset=utf-8",
	".mkv":     "video/x-matroska",
	".mov":     "video/quicktime",
	".mp3":     "audio/mpeg",
	".mp4":     "video/mp4",
	".mpeg":    "video/mpeg",
	".mpg":     "video/mpeg",
	".nc":      "application/x-netcdf",
	".odp":     "application/vnd.oasis.opendocument.presentation",
	".ods":     "application/vnd.oasis.opendocument.spreadsheet",
	".odt":     "application/vnd.oasis.opendocument.text",
	".oga":     "audio/ogg",
	".ogg":     "audio/ogg",
	".ogv":     "video/ogg",
	".otf":     "font/otf",
	".parquet": "application/vnd.apache.parquet",
	".pdf":     "application/pdf",
	".png":     "image/png",
	".ppt":     "application/vnd.ms-powerpoint",
	".pptx":    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".py":      "text/x-python; charset=utf-8",
	".r":       "text/plain; charset=utf-8",
	".rtf":     "application/rtf",
	".sam":     "text/plain; charset=utf-8",
	".sh":      "text/x-shellscript; charset=utf-8",
	".sql":     "text/plain; charset=utf-8",
	".svg":     "image/svg+xml",
	".tar":     "application/x-tar",
	".tex":     "text/x-tex; charset=utf-8",
	".tgz":     "application/gzip",
	".tif":     "image/tiff",
	".tiff":    "image/tiff",
	".toml":    "text/plain; charset=utf-8",
	".ts":      "video/mp2t",
	".tsv":     "text/tab-separated-values; charset=utf-8",
	".ttf":     "font/ttf",
	".txt":     "text/plain; charset=utf-8",
	".vcf":     "text/plain; charset=utf-8",
	".wasm":    "application/wasm",
	".wav":     "audio/wav",
	".webm":    "video/webm",
	".webp":    "image/webp",
	".woff":    "font/woff",
	".woff2":   "font/woff2",
	".xls":     "application/vnd.ms-excel",
	".xlsx":    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".xml":     "text/xml; charset=utf-8",
	".xz":      "application/x-xz",
	".yaml":    "text/plain; charset=utf-8",
	".yml":     "text/plain; charset=utf-8",
	".zip":     "application/zip",
	".zst":     "application/zstd",
}
