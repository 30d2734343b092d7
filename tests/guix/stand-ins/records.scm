;;; Stand-in for what Guix makes records with: a constructor that takes (FIELD VALUE) in any order, refuses fields it does
;;; not know and fields that are missing, and looks at each value.

(define-module (records)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1)
  #:use-module (srfi srfi-9)
  #:export (construct define-record make-field field-name field-type record-of? record-ref))

(define-record-type <field>
  (make-field name type good? default)
  field?
  (name field-name)
  (type field-type)
  (good? field-good?)
  ;; A thunk, or #f where a value is required.
  (default field-default))

(define-record-type <record>
  (make-record kind values)
  record?
  (kind record-kind)
  (values record-values))

(define (construct kind fields given)
  (for-each (match-lambda
              ((name . _)
               (unless (any (lambda (field) (eq? name (field-name field))) fields)
                 (error "extraneous field:" kind name))))
            given)
  (make-record kind
               (map (lambda (field)
                      (let* ((name (field-name field))
                             (value (match (assq name given)
                                      ((_ . value) value)
                                      (#f (if (field-default field)
                                              ((field-default field))
                                              (error "missing field:" kind name))))))
                        (unless ((field-good? field) value)
                          (error "invalid value for field:" kind name value))
                        (cons name value)))
                    fields)))

(define (record-of? kind value)
  (and (record? value) (eq? kind (record-kind value))))

(define (record-ref record name)
  (assq-ref (record-values record) name))

(define-syntax define-record
  ;; NAME the constructor, NAME? the predicate, NAME-FIELD the getters.
  (lambda (form)
    (define (id context . parts)
      (datum->syntax context
                     (apply symbol-append
                            (map (lambda (part) (if (symbol? part) part (syntax->datum part))) parts))))

    (syntax-case form ()
      ((_ name fields (field ...))
       (with-syntax ((predicate (id #'name #'name '?))
                     ((getter ...) (map (lambda (field) (id #'name #'name '- field)) #'(field ...))))
         #'(begin
             (define (predicate value) (record-of? 'name value))
             (define (getter record) (record-ref record 'field)) ...
             (define-syntax name
               (syntax-rules ()
                 ((_ (key value) (... ...))
                  (construct 'name fields (list (cons 'key value) (... ...))))))))))))

