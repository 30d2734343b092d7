;; Signs the store item that `farmgate demo` publishes. Needs Guile with guile-gcrypt (Debian:
;; guile-gcrypt):
;;
;;     guile --no-auto-compile certs-dev/make-demo-assets.scm
;;
;; The key is made here, used once, and forgotten: only its public half is written. The NAR and its
;; hash are computed here a second time, apart from the Rust code, and `cargo test` compares the
;; two.

(use-modules (gcrypt base64)
             (gcrypt hash)
             (gcrypt pk-crypto)
             (ice-9 binary-ports)
             (ice-9 match)
             (rnrs bytevectors))

(define %assets
  (string-append (dirname (dirname (canonicalize-path (current-filename)))) "/src/demo/assets/"))

(define %name "farmgate-demo-1.0")

(define (asset file)
  (call-with-input-file (string-append %assets "item/" file) get-bytevector-all #:binary #t))

;; Entries in byte order, as the format wants them.
(define %tree
  `(directory
    ("bin" (directory
            ("hello-farm" (executable ,(asset "hello-farm")))))
    ("share" (directory
              ("doc" (directory
                      ("farmgate-demo" (directory
                                        ("README" (regular ,(asset "README")))))))
              ("hello" (symlink "../bin/hello-farm"))))))

(define (write-nar tree port)
  (define (put item)
    (let* ((bytes  (if (string? item) (string->utf8 item) item))
           (length (bytevector-length bytes))
           (header (make-bytevector 8)))
      (bytevector-u64-set! header 0 length (endianness little))
      (put-bytevector port header)
      (put-bytevector port bytes)
      (put-bytevector port (make-bytevector (modulo (- length) 8) 0))))
  (define (put-all . items) (for-each put items))
  (define (node tree)
    (put-all "(" "type")
    (match tree
      (('regular contents)    (put-all "regular" "contents" contents))
      (('executable contents) (put-all "regular" "executable" "" "contents" contents))
      (('symlink target)      (put-all "symlink" "target" target))
      (('directory entries ...)
       (put "directory")
       (for-each (match-lambda
                   ((name child)
                    (put-all "entry" "(" "name" name "node")
                    (node child)
                    (put ")")))
                 entries)))
    (put ")"))
  (put "nix-archive-1")
  (node tree))

(define (hex bytes)
  (string-concatenate
   (map (lambda (byte) (string-pad (number->string byte 16) 2 #\0)) (bytevector->u8-list bytes))))

(define (base32 bytes)
  ;; The bytes as one little-endian number, its digits from the top: the plainest way to say it.
  (define digits "0123456789abcdfghijklmnpqrsvwxyz")
  (define number (bytevector-uint-ref bytes 0 (endianness little) (bytevector-length bytes)))
  (let loop ((left (ceiling-quotient (* 8 (bytevector-length bytes)) 5)) (number number) (result '()))
    (if (zero? left)
        (list->string result)
        (loop (- left 1) (ash number -5) (cons (string-ref digits (logand number 31)) result)))))

(define (fold-hash bytes)
  (define folded (make-bytevector 20 0))
  (do ((i 0 (+ i 1))) ((= i (bytevector-length bytes)) folded)
    (let ((j (modulo i 20)))
      (bytevector-u8-set! folded j (logxor (bytevector-u8-ref folded j) (bytevector-u8-ref bytes i))))))

(define nar
  (call-with-values open-bytevector-output-port
    (lambda (port bytes) (write-nar %tree port) (bytes))))

(define nar-hash (sha256 nar))

(define store-name
  (string-append
   (base32 (fold-hash (sha256 (string->utf8 (string-append "source:sha256:" (hex nar-hash)
                                                           ":/gnu/store:" %name)))))
   "-" %name))

(define text
  (format #f "StorePath: /gnu/store/~a~%NarHash: sha256:~a~%NarSize: ~a~%References: ~%"
          store-name (base32 nar-hash) (bytevector-length nar)))

;; The parameters that `guix archive --generate-key` uses.
(define key (generate-key (string->canonical-sexp "(genkey (ecdsa (curve Ed25519) (flags rfc6979)))")))
(define public (find-sexp-token key 'public-key))
(define data (bytevector->hash-data (sha256 (string->utf8 text)) #:key-type (key-type public)))
(define signature
  (string-append "(signature " (canonical-sexp->string data)
                 " " (canonical-sexp->string (sign data (find-sexp-token key 'private-key)))
                 " " (canonical-sexp->string public) ")"))

(define (write-asset file . strings)
  (call-with-output-file (string-append %assets file)
    (lambda (port) (for-each (lambda (string) (display string port)) strings))))

(write-asset "signing-key.pub" (canonical-sexp->string public))
(write-asset "signed.narinfo" text
             "Signature: 1;farmgate-demo;"
             (base64-encode (string->utf8 (canonical-sexp->string (string->canonical-sexp signature)))) "\n")
(format #t "signed /gnu/store/~a~%" store-name)
