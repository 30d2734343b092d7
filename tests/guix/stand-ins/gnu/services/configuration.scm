(define-module (gnu services configuration)
  #:use-module (records)
  #:use-module (srfi srfi-1)
  #:export (define-configuration/no-serialization define-maybe/no-serialization
            configuration-field-name configuration-field-type configuration-field-getter
            filter-configuration-fields list-of-strings? maybe-value maybe-value-set?))

(define %unset-value '%unset-marker%)

(define (maybe-value-set? value)
  (not (eq? value %unset-value)))

(define* (maybe-value value #:optional (default #f))
  (if (maybe-value-set? value) value default))

(define (list-of-strings? value)
  (and (list? value) (every string? value)))

(define-syntax define-maybe/no-serialization
  (lambda (form)
    (syntax-case form ()
      ((_ stem)
       (let ((name (syntax->datum #'stem)))
         (with-syntax ((good? (datum->syntax #'stem (symbol-append name '?)))
                       (maybe-good? (datum->syntax #'stem (symbol-append 'maybe- name '?))))
           #'(define (maybe-good? value)
               (or (not (maybe-value-set? value)) (good? value)))))))))

(define-syntax define-configuration/no-serialization
  (lambda (form)
    (define (type+default field)
      (syntax-case field ()
        ((type default) #'(type default))
        (type #'(type %unset-value))))

    (syntax-case form ()
      ((_ stem (field type documentation) ...)
       (let ((documented? (lambda (text) (string? (syntax->datum text)))))
         (and-map documented? #'(documentation ...)))
       (with-syntax ((fields (datum->syntax #'stem (symbol-append (syntax->datum #'stem) '-fields)))
                     (((type default) ...) (map type+default #'(type ...))))
         (with-syntax (((good? ...)
                        (map (lambda (type) (datum->syntax type (symbol-append (syntax->datum type) '?)))
                             #'(type ...))))
           #'(begin
               (define fields (list (make-field 'field 'type good? (lambda () default)) ...))
               (define-record stem fields (field ...)))))))))

(define configuration-field-name field-name)
(define configuration-field-type field-type)

(define (configuration-field-getter field)
  (lambda (record) (record-ref record (field-name field))))

(define* (filter-configuration-fields fields names #:optional negate?)
  (filter (lambda (field)
            (let ((named? (memq (field-name field) names)))
              (if negate? (not named?) named?)))
          fields))
