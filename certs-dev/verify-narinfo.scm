;; Checks a narinfo as Guix does, with libgcrypt. Needs Guile with guile-gcrypt (Debian:
;; guile-gcrypt):
;;
;;     curl -s http://localhost:8080/HASH.narinfo \
;;       | guile --no-auto-compile certs-dev/verify-narinfo.scm src/demo/assets/signing-key.pub

(use-modules (gcrypt base64)
             (gcrypt hash)
             (gcrypt pk-crypto)
             (ice-9 match)
             (ice-9 textual-ports)
             (rnrs bytevectors))

(define (fail reason)
  (format (current-error-port) "narinfo refused: ~a~%" reason)
  (exit 1))

(define authorized
  (match (command-line)
    ((_ key) (string->canonical-sexp (call-with-input-file key get-string-all)))
    (_ (fail "usage: verify-narinfo.scm signing-key.pub < narinfo"))))

(define narinfo (get-string-all (current-input-port)))
(define start (or (string-contains narinfo "Signature:") (fail "it has no signature")))

(define signature
  (let ((line (substring narinfo start (string-index narinfo #\newline start))))
    (match (string-split (string-drop line (string-length "Signature: ")) #\;)
      (("1" host base64) (string->canonical-sexp (utf8->string (base64-decode base64))))
      (_ (fail "the signature is not version;host;base64")))))

(define data (find-sexp-token signature 'data))
(define signer (find-sexp-token signature 'public-key))

(unless (equal? (canonical-sexp->sexp signer) (canonical-sexp->sexp authorized))
  (fail "signed by another key"))
(unless (equal? (hash-data->bytevector data) (sha256 (string->utf8 (substring narinfo 0 start))))
  (fail "the text above the signature was changed"))
(unless (verify (find-sexp-token signature 'sig-val) data signer)
  (fail "the signature does not verify"))
(format #t "good signature, by the given key~%")
