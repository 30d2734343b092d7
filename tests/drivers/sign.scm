;; A store item's narinfo, signed as `guix publish` does it, with libgcrypt through guile-gcrypt, which Guix uses:
;;
;;     guile sign.scm NAR FOLDER
;;
;; writes FOLDER/key and FOLDER/narinfo, up to the signature, for an item whose nar is the file NAR; and, for numbers
;; that were altered, FOLDER/N.key and FOLDER/N.narinfo, with FOLDER/verdicts saying of each what libgcrypt makes of it.

(use-modules (gcrypt base64)
             (gcrypt hash)
             (gcrypt pk-crypto)
             (ice-9 binary-ports)
             (ice-9 match)
             (rnrs bytevectors))

(define nar (call-with-input-file (cadr (command-line)) get-bytevector-all #:binary #t))
(define folder (caddr (command-line)))

(define (write-file name text)
  (call-with-output-file (string-append folder "/" name) (lambda (port) (display text port))))

(define (base32 bytes)
  (define digits "0123456789abcdfghijklmnpqrsvwxyz")
  (let loop ((left (ceiling-quotient (* 8 (bytevector-length bytes)) 5))
             (number (bytevector-uint-ref bytes 0 (endianness little) (bytevector-length bytes)))
             (result '()))
    (if (zero? left)
        (list->string result)
        (loop (- left 1) (ash number -5) (cons (string-ref digits (logand number 31)) result)))))

(define (hex bytes)
  (string-concatenate
   (map (lambda (byte) (string-pad (number->string byte 16) 2 #\0)) (bytevector->u8-list bytes))))

(define text
  (string-append "StorePath: /gnu/store/0123456789abcdfghijklmnpqrsvwxyz-test-1.0\n"
                 "NarHash: sha256:" (base32 (sha256 nar)) "\n"
                 "NarSize: " (number->string (bytevector-length nar)) "\n"
                 "References: 0123456789abcdfghijklmnpqrsvwxyz-test-1.0\n"))

(define (new-key) (generate-key (string->canonical-sexp "(genkey (ecdsa (curve Ed25519) (flags rfc6979)))")))
(define key (new-key))
(define public (find-sexp-token key 'public-key))
(define data (bytevector->hash-data (sha256 (string->utf8 text)) #:key-type (key-type public)))
(define signed (sign data (find-sexp-token key 'private-key)))

(define (number-of sexp name) (canonical-sexp-nth-data (find-sexp-token sexp name) 1))
(define r (number-of signed 'r))
(define s (number-of signed 's))
(define q (number-of public 'q))

(define (public-key q) (string-append "(public-key (ecc (curve Ed25519) (q #" (hex q) "#)))"))
(define (sig-val r s) (string-append "(sig-val (ecdsa (r #" (hex r) "#) (s #" (hex s) "#)))"))

(define (narinfo public value)
  (define signature (string-append "(signature " (canonical-sexp->string data) value public ")"))
  (string-append text "Signature: 1;test;"
                 (base64-encode (string->utf8 (canonical-sexp->string (string->canonical-sexp signature)))) "\n"))

(write-file "key" (canonical-sexp->string public))
(write-file "narinfo" (narinfo (canonical-sexp->string public) (canonical-sexp->string signed)))

(define (altered bytes at)
  (define copy (bytevector-copy bytes))
  (bytevector-u8-set! copy at (logxor 1 (bytevector-u8-ref copy at)))
  copy)
(define (number->bytes number)
  (define bytes (make-bytevector 32))
  (bytevector-uint-set! bytes 0 number (endianness big) 32)
  bytes)
(define (bytes->number bytes) (bytevector-uint-ref bytes 0 (endianness big) (bytevector-length bytes)))
(define order (+ (expt 2 252) 27742317777372353535851937790883648493))
(define other (number-of (find-sexp-token (new-key) 'public-key) 'q))

(define variants
  (list (list q r s)
        (list q (altered r (- (bytevector-length r) 1)) s)
        (list q r (altered s 3))
        (list other r s)
        (list q s r)
        ;; On other curves that is another signature of the same text; here it gives the point with x negated.
        (list q r (number->bytes (- order (bytes->number s))))
        (list q r (number->bytes (+ order (bytes->number s))))
        (list q (number->bytes 0) s)
        (list q (u8-list->bytevector (cons 0 (bytevector->u8-list r))) s)))

(define (verdict q r s)
  (catch 'gcry-error
    (lambda ()
      (if (verify (string->canonical-sexp (sig-val r s)) data (string->canonical-sexp (public-key q))) "good" "bad"))
    (lambda _ "bad")))

(let loop ((number 0) (left variants) (verdicts '()))
  (match left
    (() (write-file "verdicts" (string-join (reverse verdicts) "\n")))
    (((q r s) . rest)
     (write-file (string-append (number->string number) ".key") (public-key q))
     (write-file (string-append (number->string number) ".narinfo") (narinfo (public-key q) (sig-val r s)))
     (loop (+ number 1) rest (cons (verdict q r s) verdicts)))))
