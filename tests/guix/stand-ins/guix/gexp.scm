;;; Stand-in: a G-expression is its code, with the names of files in the place of file-like objects.

(define-module (guix gexp)
  #:use-module (guix utils)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-9)
  #:export (gexp gexp->code with-imported-modules
            file-like? file-name-of file-append local-file mixed-text-file mixed-text-file-text
            make-file-like))

(define-record-type <gexp>
  (make-gexp code)
  gexp?
  (code gexp->code))

(define-record-type <file-like>
  (make-file-like name parts)
  file-like?
  (name file-name-of)
  (parts file-like-parts))

(define (input value)
  (match value
    ((? gexp?) (gexp->code value))
    ((? file-like?) (file-name-of value))
    ((values ...) (map input values))
    (_ value)))

(define-syntax gexp
  (lambda (form)
    (define (code body)
      (syntax-case body ()
        ((head value)
         (eq? (syntax->datum #'head) 'ungexp)
         (if (eq? (syntax->datum #'value) 'output) #''output #'(input value)))
        (((head value) . rest)
         (eq? (syntax->datum #'head) 'ungexp-splicing)
         #`(append (input value) #,(code #'rest)))
        ((first . rest) #`(cons #,(code #'first) #,(code #'rest)))
        (atom #''atom)))

    (syntax-case form ()
      ((_ body) #`(make-gexp #,(code #'body))))))

(define (reader-of symbol)
  (lambda (_ port) (list symbol (read port))))

(read-hash-extend #\~ (reader-of 'gexp))
(read-hash-extend #\$
  (lambda (_ port)
    (match (peek-char port)
      (#\@ (read-char port) (list 'ungexp-splicing (read port)))
      (_ (list 'ungexp (read port))))))

(define-syntax-rule (with-imported-modules modules body)
  (begin modules body))

(define (file-append base suffix)
  (make-file-like (string-append (file-name-of base) suffix) '()))

(define-syntax local-file
  (lambda (form)
    (syntax-case form ()
      ((_ file name rest ...)
       ;; Relative to the file that says so, as in Guix.
       #`(let ((folder (folder-of-source #,(assq-ref (syntax-source form) 'filename))))
           (list rest ...)
           (make-file-like (canonicalize-path (string-append folder "/" file)) '()))))))

(define (mixed-text-file name . parts)
  (make-file-like (string-append "/gnu/store/" name) parts))

(define (mixed-text-file-text file)
  (apply string-append (map input (file-like-parts file))))
